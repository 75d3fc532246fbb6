package step

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/cooperbuild/cooper/executor/emulator"
	"github.com/cooperbuild/cooper/executor/internal/seccomp"
	"github.com/cooperbuild/cooper/executor/joined"
	"github.com/cooperbuild/cooper/userns"
)

// The networks of steps, besides "host".
const (
	NetworkNone    = "none"    // only a loopback device
	NetworkPrivate = "private" // what Step.NetNS is
)

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

	Network  string   // "host" (also ""), NetworkNone or NetworkPrivate
	Hostname string   // "" is "cooper"
	AddHosts []string // "name:address" lines for /etc/hosts; the address may be host-gateway
	Hosts    Hosts
	DNS      DNS
	// Shared are the namespaces that aren't the step's own.
	Shared Namespaces
	// AddGroups are supplementary groups besides those that User has, by name or number. KeepGroups leaves the step those
	// of the caller instead of all others, with IDs that it can't see.
	AddGroups  []string
	KeepGroups bool
	// NetNS is the network namespace that a step with NetworkPrivate joins. It must belong to the caller's user namespace.
	NetNS *os.File
	// NameServer is the name server of a step with NetworkPrivate, instead of the caller's, and HostGateway the address at
	// which it reaches the caller's machine.
	NameServer, HostGateway netip.Addr
	ShmSize                 int64 // bytes that files in /dev/shm may take; 0 is 64 MiB

	// Mapping puts the step into a new user namespace with this mapping, whose host IDs are those of the caller's user
	// namespace. Nil: the step runs in the caller's user namespace. Unless Shifted is set, layers and mount sources are
	// shown through ID-mapped mounts, so that the IDs on disk are container IDs; only real root in the initial user
	// namespace can do that.
	Mapping *userns.Mapping
	// UserNS is a user namespace that the step joins instead of a new one; Mapping must point to its Mapping then. A step
	// with UserNS can't have Emulators.
	UserNS *joined.UserNS
	// Shifted tells that the files of Rootfs have on disk the host IDs that Mapping gives them, and that files which the
	// step makes get such owners on disk, too. Mount sources are then shown with the owners that they have on disk; files
	// of owners that Mapping leaves out belong to nobody in the step, and even its root is bound by their permissions.
	Shifted bool

	Security Security
	Limits   []Limit // of each process
	// Resources are limits of all processes together, and Groups what the steps of the caller share for that; nil: this
	// step shares nothing.
	Resources Resources
	Groups    *Groups
	// ReadOnly keeps the step from writing to its root. Mounts and /dev stay as writable as they are. A step with a
	// Runtime can't have it.
	ReadOnly bool

	// Emulators execute programs of other architectures for this step alone, at most one for each architecture. They are
	// registered with the kernel in the step's user namespace, which is a new one with the caller's IDs if there is no
	// Mapping; the machine's own registrations don't count there. This needs Linux 6.7; if it isn't possible, the error
	// is emulator.ErrRegister.
	Emulators []emulator.Emulator

	// Runtime is the OCI runtime that runs the step; nil: this package's own back end does.
	Runtime *Runtime
	// Hooks are run by the Runtime, in this order at each point.
	Hooks []Hook
	// KeepBundle is a directory, made if it is missing, into which the config.json and the command line of the Runtime are
	// written, without the values of the variables of Env whose names SecretEnv lists. Empty: they aren't kept.
	KeepBundle string
	SecretEnv  []string

	// Stdin is the input, which the step gets directly; nil: the null device. OCI runtimes change the owner of a step's
	// input, so a step with a Runtime can't have one.
	Stdin *os.File
	// Terminal, if not nil, gives the step a terminal of its own as its controlling terminal and standard streams; Stdin,
	// Stdout and Stderr aren't used then. It is called before the step begins, with the other side of that terminal: what
	// is written there the step reads, and its output is read from there until an error, EIO at its end. end is called
	// when the step has ended, and must return soon; then Run closes other. A step with a Runtime can't have one.
	Terminal func(other *os.File) (end func() error)

	// Stdout and Stderr receive the output; nil discards it. An *os.File is handed to the step directly, anything else is
	// written to by Run, never after it has returned. The same value in both is written to by one goroutine only.
	Stdout, Stderr io.Writer

	// Stop says how the step is asked to end when ctx ends.
	Stop Stop

	// Started, if not nil, is called once the step's first process exists, with its ID in the caller's pid namespace. The
	// process isn't reaped before Started has returned, so that no other process can have the ID until then.
	Started func(pid int)
}

// Rootfs is the step's root: a stack of layers, or a directory that is ready to use.
type Rootfs struct {
	Lower []*os.File // O_PATH descriptors of the layers, topmost first; at most 498
	Upper *os.File   // receives the step's changes, and no mount point or other file of this package

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

// MountKind says what kind of files a Mount shows.
type MountKind int

// The kinds of mounts.
const (
	Bind   MountKind = iota // a directory or file below Source
	Tmpfs                   // an empty memory file system
	Device                  // the device node Source, which the step may use as its owner and mode on disk allow
)

// Mount is one more file system for the duration of the step. All of them are nosuid, and all but
// devices nodev.
type Mount struct {
	Kind   MountKind
	Target string // absolute path in the root; symbolic links in it stay inside the root; made if missing, without trace

	Source   *os.File // Bind: O_PATH descriptor of a directory (or of a file, with Subpath "")
	Subpath  string   // Bind: path of the file or directory to mount, resolved below Source as if Source were "/"
	ReadOnly bool
	// Scratch is a directory that receives the step's writes in place of Source. It must be empty, save for files of an
	// earlier Run. The caller removes it. It is ignored when ReadOnly is set.
	Scratch *os.File
	// IDMapped tells that Source must not be mounted ID-mapped: it is a view that overlay.Mount has made with
	// Step.Mapping, or its files shall keep their owners on disk.
	IDMapped bool
	// UserNS, if not nil, mounts Source through the map of this user namespace instead of Step.Mapping. Its map must make
	// all files in Source those of the step's root. IDMapped is ignored then.
	UserNS *os.File

	SizeBytes int64 // Tmpfs: how many bytes its files may take; 0 is half of the machine's memory
	// Mode holds, for Tmpfs, the permission bits of its root; 0: those of the directory that it covers, or 01777 if it
	// covers none.
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
	// Serve serves one connection until the peer closes it or ctx ends, which it does when the step ends. The caller of
	// Serve closes conn. At most 32 connections to a socket are served at the same time; further ones wait.
	Serve func(ctx context.Context, conn net.Conn)
}

// DNS holds settings for the step's /etc/resolv.conf. Empty fields are taken from the caller's file.
type DNS struct {
	Servers []string // addresses
	Search  []string // domains; "." alone is none
	Options []string
	None    bool // the step sees the file of the image itself, with no setting applied
}

// Security changes what the command may do. The zero value gives what container engines give by default.
type Security struct {
	// Insecure gives the command all capabilities of its user namespace, also if its user isn't root, no system call
	// filter except for the caller's keys, and /proc and /sys without masked paths. The command still gets its namespaces;
	// its user namespace is a new one, unless real root runs it without Mapping.
	Insecure bool
	// Caps is the capability set of the command instead of the usual one.
	Caps *Caps
	// NoFilter leaves the system call filter out, except for the caller's keys.
	NoFilter bool
	// Filter is the system call filter of a command that has one; nil: the usual one for its capabilities.
	Filter *seccomp.Filter
	// AppArmor is the profile that the command is confined by; empty: the caller's. SELinux is the command's context;
	// empty: what the policy says.
	AppArmor, SELinux string
	// NoNewPrivs keeps setuid programs and file capabilities from giving the command privileges.
	NoNewPrivs bool
}

// Stop says how a step is asked to end. The zero value is what a step of a build gets: SIGTERM, and a short while.
type Stop struct {
	// Signal gives the signal for the cause of ctx's end; nil: it is SIGTERM. With it, a step that handles the signal and
	// ends in time is no error. OCI runtimes may not hand on others than SIGTERM.
	Signal func(cause error) syscall.Signal
	// Grace is how long a step whose first process handles the signal may take before SIGKILL; 0: 2 s.
	Grace time.Duration
}

// Status is how the step's first process ended.
type Status struct {
	ExitCode int            // 0 to 255; 128 + Signal if a signal ended it
	Signal   syscall.Signal // 0 if it exited
	Duration time.Duration  // from its start to its end
	User     time.Duration  // processor time in user mode of the first process and all its descendants that were reaped
	System   time.Duration  // processor time of the same processes in the kernel
	Usage    Usage
	Limited  Limited // the limit that the step has met; "" for none. It may have ended well all the same
}
