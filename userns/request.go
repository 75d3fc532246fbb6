package userns

import (
	"errors"
	"fmt"
)

// ErrBadRequest means that the user asked for an impossible mode or map: a mistake on the command line.
var ErrBadRequest = errors.New("not a possible user namespace")

// RequestError says what is wrong with an option. It matches [ErrBadRequest], and all that Err matches.
type RequestError struct {
	Option  string // such as "--userns"
	Value   string // value of the option; "" when the mistake is not in one value
	Problem string
	Err     error // the cause, if there is one beyond Problem
}

func (e *RequestError) Error() string {
	text := e.Option
	if e.Value != "" {
		text += "=" + e.Value
	}
	if e.Problem != "" {
		text += ": " + e.Problem
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Is makes the error match [ErrBadRequest].
func (e *RequestError) Is(target error) bool { return target == ErrBadRequest }

// Unwrap gives the cause.
func (e *RequestError) Unwrap() error { return e.Err }

func badMode(text, problem string) error {
	return &RequestError{Option: "--userns", Value: text, Problem: problem}
}

// Caller is the user who makes a request, with the IDs that the user has.
type Caller struct {
	Root     bool   // real root of the machine: host IDs are intermediate IDs
	UID, GID uint32 // the caller's own host IDs
	// Outer maps intermediate IDs to host IDs in an ordinary user's first namespace, as [Default] gives it; unused for
	// root.
	Outer  Mapping
	Inside bool   // Outer is the mapping of the namespace that this process is in
	Sub    SubIDs // root's ranges for steps and for auto, host IDs; may be empty; not for an ordinary user
}

// Request says which user namespaces a user asks for. A Request with nothing but a Caller asks for the default.
type Request struct {
	Caller  Caller
	Mode    Mode
	UIDMaps []MapFlag // --uidmap, in their order
	GIDMaps []MapFlag // --gidmap, in their order
	// ranges, in host IDs, of the owners named by --subuidname and --subgidname; nil without those options
	Named *SubIDs
}

// Resolved says which user namespaces a build makes.
type Resolved struct {
	Mode Mode
	// Outer maps intermediate IDs (its container side) to host IDs. For root each intermediate ID is the same host ID.
	Outer Mapping
	// Second maps container IDs to intermediate IDs. It is nil if there is no second namespace, and in the modes
	// [ModeAuto] and [ModeNS] until the build knows it.
	Second *Mapping
	// Auto holds, for [ModeAuto], the IDs to choose from; nil in other modes.
	Auto *AutoOptions
	// NSPath is, for [ModeNS], the path of the user namespace to join.
	NSPath string
}

// Composed gives the mapping of container IDs to host IDs. In the modes [ModeAuto] and [ModeNS] it fails until Second
// is set.
func (r Resolved) Composed() (Mapping, error) {
	if r.Second == nil {
		if r.Auto != nil || r.NSPath != "" {
			return Mapping{}, fmt.Errorf("compose maps of --userns=%s: the second map is not known yet", r.Mode)
		}
		return r.Outer, nil
	}
	return r.Second.Compose(r.Outer)
}
