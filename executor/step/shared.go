package step

import "os"

// Namespace says which namespace of a kind a step is in. The zero value is one of its own.
type Namespace struct {
	Host bool     // the caller's
	File *os.File // one that exists; nil: none
}

// IsOwn says that the step gets a namespace of its own.
func (n Namespace) IsOwn() bool { return !n.Host && n.File == nil }

// Namespaces are those of a step that it needn't have for itself.
type Namespaces struct {
	IPC, UTS, ControlGroups Namespace
	// ShowProcesses has the step see the caller's processes in /proc. Its own are in a namespace of their own all the
	// same, which is how none of them outlives the step: it can't send signals to others. A step with a Runtime can't have
	// it.
	ShowProcesses bool
}

// Hosts is what the step's /etc/hosts has besides AddHosts.
type Hosts struct {
	None bool // the step sees the file of the image itself, with no line added
	// From is the file on the caller's machine whose lines come first, HostsOfImage for the image's, or HostsEmpty; ""
	// gives those of the step's own names.
	From string
}

// The words for Hosts.From.
const (
	HostsOfImage = "image"
	HostsEmpty   = "none"
)
