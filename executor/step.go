package executor

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/cooperbuild/cooper/executor/emulator"
	"github.com/cooperbuild/cooper/executor/joined"
	"github.com/cooperbuild/cooper/userns"
)

// networkNone is the Network of a step that has only a loopback device.
const networkNone = "none"

// Step is one command and the container it runs in. All IDs are container IDs. Run only borrows the files in it: the
// caller closes them.
type Step struct {
	Rootfs Rootfs

	Args []string // the program (looked up in Env's PATH inside the root unless it has a slash) and its arguments
	Env  []string // "NAME=value"; HOME and PATH are added if absent, nothing else is
	Cwd  string   // absolute, must exist in the root; "" is "/"
	User string   // as in an image config: "", "name", "uid", "name:group", "uid:gid"...; see LookupUser

	Mounts  []Mount
	Files   []File
	Sockets []Socket

	Network  string   // "host" (also "") or "none"
	Hostname string   // "" is "cooper"
	AddHosts []string // "name:address" lines for /etc/hosts
	DNS      DNS
	ShmSize  int64 // bytes that files in /dev/shm may take; 0 is 64 MiB

	// Mapping puts the step into a user namespace of its own with this map; its host IDs are those of the caller's own
	// user namespace. Nil: the caller's own. Unless Shifted is set, layers and mount sources are shown through ID-mapped
	// mounts, so that IDs on disk stay container IDs, which only real root in the initial user namespace can do.
	Mapping *userns.Mapping
	// UserNS is the namespace that the step joins instead of a new one; Mapping must point to its Mapping then. It can't
	// have Emulators.
	UserNS *joined.UserNS
	// Shifted says that the files of Rootfs have the owners already that Mapping gives them, and that what the step makes
	// may have such owners on disk, too. Mount sources are then shown with the owners they have: what Mapping leaves out
	// belongs to nobody in the step, and not even its root gets past the permissions.
	Shifted bool

	Security Security
	Limits   []Limit

	// Emulators execute programs of other architectures for the step, and for it alone: they are made known to the kernel
	// in the step's user namespace, which is a new one with the caller's IDs if there is no Mapping. What emulators the
	// machine has then doesn't count. At most one for each architecture. Needs Linux 6.7; the error is
	// emulator.ErrRegister if it can't be done.
	Emulators []emulator.Emulator

	// Runtime runs the step in place of this package's own back end, which is used if it is nil.
	Runtime *Runtime
	// KeepBundle is a directory, made if it is missing, that gets the config.json that the Runtime is given, and its
	// command line. The values of the variables of Env that SecretEnv names are left out.
	KeepBundle string
	SecretEnv  []string

	// Stdout and Stderr receive the output; nil discards it. An *os.File is handed to the step directly, anything else is
	// written to by Run, never after it has returned. The same value in both is written to by one goroutine only.
	Stdout, Stderr io.Writer

	// Started, if not nil, is told the ID of the step's first process, as the caller's pid namespace numbers it, once that
	// process exists. The process isn't reaped before Started has returned, so that the ID is its own until then.
	Started func(pid int)
}

// Rootfs is the step's root: a stack of layers, or a directory that is ready to use.
type Rootfs struct {
	Lower []*os.File // O_PATH descriptors of the layers, topmost first; at most overlay.MaxLower less two
	Upper *os.File   // receives the changes; never gets a mount point or other trace of ours

	// Work is a scratch directory in the same mount as Upper that belongs to one Run at a time. Every Run leaves a few
	// small directories in it, which do no harm to the next: remove it with all it contains when done.
	Work *os.File
	// Stubs is a directory on Upper's file system in which Run keeps the mount points that every step needs, for steps
	// whose image lacks them: seven empty files and directories that are made once and never removed, shared by any number
	// of Runs. Nil: each Work has its own.
	Stubs *os.File

	UserXattr bool // overlay marks are user.overlay.*; needed everywhere but as real root in the initial user namespace
	Volatile  bool // never sync; the caller syncs when it commits

	// Dir is used instead of Lower, Upper and Work: a mounted, writable directory.
	Dir *os.File
}

// MountKind says what a Mount shows.
type MountKind int

// The kinds of mounts.
const (
	Bind  MountKind = iota // a directory or file below Source
	Tmpfs                  // an empty memory file system
)

// Mount is one more file system for the duration of the step. All of them are nosuid and nodev.
type Mount struct {
	Kind   MountKind
	Target string // absolute path in the root; symbolic links in it stay inside the root; made if missing, without trace

	Source   *os.File // Bind: O_PATH descriptor of a directory (or of a file, with Subpath "")
	Subpath  string   // Bind: what to show, resolved below Source as if Source were "/"
	ReadOnly bool
	// Scratch makes writes go nowhere: a directory, empty but for what an earlier Run left, that takes them. Remove it
	// when done. Ignored when ReadOnly.
	Scratch *os.File
	// IDMapped says that the owners in Source are not to be mapped: it is a view made by overlay.Mount with Step.Mapping,
	// or the step has no business with owners that the map leaves out.
	IDMapped bool
	// UserNS, if not nil, shows Source through the map of this user namespace, which makes everything in it root's of the
	// step, in place of Step.Mapping. IDMapped is ignored then.
	UserNS *os.File

	SizeBytes int64 // Tmpfs: limit, 0 is half of the machine's memory
	// Tmpfs: permission bits of its root, 0: those of the directory that it covers, 01777 where there was none
	Mode uint32
}

// File is a small file shown read-only in the step at Path and in no layer: a heredoc script, a secret.
type File struct {
	Path     string // absolute
	Data     []byte
	Mode     uint32 // permission bits
	UID, GID uint32
}

// Socket is a Unix socket shown in the step at Path and in no layer. It listens while the step runs.
type Socket struct {
	Path     string // absolute
	Mode     uint32 // permission bits
	UID, GID uint32
	// Serve answers one connection, until the peer has hung up or ctx ends, which is when the step does; conn is closed by
	// the caller. A few connections are served at the same time, further ones wait.
	Serve func(ctx context.Context, conn net.Conn)
}

// DNS is what the step's /etc/resolv.conf says. What is empty is taken from the caller's.
type DNS struct {
	Servers []string // addresses
	Search  []string // domains; "." alone is none
	Options []string
	None    bool // the image's own file stays
}

// Security changes what the command may do. The zero value is the usual container.
type Security struct {
	// Insecure gives the command all the capabilities that there are in its user namespace, which is one of its own but
	// for root without Mapping in the initial one, also as another user than root, no system call filter but for the
	// caller's keys, and /proc and /sys as they are. The namespaces stay.
	Insecure bool
	// Caps is the capability set of the command instead of the usual one.
	Caps *Caps
	// NoFilter leaves the system call filter out, but for the caller's keys.
	NoFilter bool
	// NoNewPrivs keeps setuid programs from giving the command anything.
	NoNewPrivs bool
}

// Status is how the step's first process ended.
type Status struct {
	ExitCode int            // 0 to 255; 128 + Signal if a signal ended it
	Signal   syscall.Signal // 0 if it exited
	Duration time.Duration  // from its start to its end
	User     time.Duration  // processor time of it and all its descendants that were waited for
	System   time.Duration
	MaxRSS   int64 // bytes; the largest process among them, but never less than the size of the caller, which it began as
}
