package spec

import (
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cooperbuild/cooper/userns"
)

// version is the version of the specification that the configuration keeps to: the oldest with all that is used.
const version = "1.0.2"

// Container is a step with everything resolved: users looked up, mount points made. IDs are container IDs.
type Container struct {
	Args, Env []string
	Cwd       string // "" is "/"
	Hostname  string
	Root      string // directory of the root file system, relative to the bundle or absolute

	User User
	// Caps are names with CAP_ in front; Ambient gives them to any user, past the execution of a program.
	Caps       []string
	Ambient    bool
	NoNewPrivs bool
	Limits     []Limit

	Mounts  []Mount // besides those of every container, in order
	Masked  []string
	Locked  []string // read-only paths
	ShmSize int64    // bytes

	// LoopbackOnly gives the container a network namespace of its own. Without it Sys is the source of a bind mount for
	// /sys: no other can be made without a network namespace.
	LoopbackOnly bool
	Sys          string
	WritableSys  bool

	// UserNS is nil to keep the runtime's own.
	UserNS *UserNS
	// TTYGroup is the group of terminals; nil where the container's user namespace lacks it.
	TTYGroup *uint32
	Filter   *Filter // nil: no system call is denied
}

// User is who the command runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// UserNS is a user namespace: a new one with the map, or with a Path the one there, which has this map. Of a namespace
// that exists the old versions of runc need the map told, and the newer ones compare it with the kernel's, line by
// line: it must be in the kernel's order.
type UserNS struct {
	Path       string // absolute
	UIDs, GIDs []userns.Range
}

// Limit is a resource limit, named as in setrlimit(2): RLIMIT_NOFILE.
type Limit struct {
	Name       string
	Soft, Hard uint64
}

// Mount is a bind mount, with what is mounted below its source: in a user namespace the kernel refuses less. Device
// nodes and set-uid bits in it have no effect.
type Mount struct {
	Source, Target string // absolute; Target has no symbolic link in it
	ReadOnly       bool
}

// Config makes the configuration.
func Config(c Container) *specs.Spec {
	return &specs.Spec{
		Version:  version,
		Hostname: c.Hostname,
		Root:     &specs.Root{Path: c.Root},
		Process:  c.process(),
		Mounts:   c.mounts(),
		Linux:    c.linux(),
	}
}

func (c Container) process() *specs.Process {
	umask := uint32(0o022)
	p := &specs.Process{
		Args: c.Args, Env: c.Env, Cwd: c.Cwd, NoNewPrivileges: c.NoNewPrivs,
		User:         specs.User{UID: c.User.UID, GID: c.User.GID, Umask: &umask, AdditionalGids: c.User.Groups},
		Capabilities: &specs.LinuxCapabilities{Bounding: c.Caps, Effective: c.Caps, Permitted: c.Caps},
	}
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	if c.Ambient {
		p.Capabilities.Inheritable, p.Capabilities.Ambient = c.Caps, c.Caps
	}
	for _, l := range c.Limits {
		p.Rlimits = append(p.Rlimits, specs.POSIXRlimit{Type: l.Name, Soft: l.Soft, Hard: l.Hard})
	}
	return p
}

func (c Container) mounts() []specs.Mount {
	size := "size=" + strconv.FormatInt(c.ShmSize, 10)
	list := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		c.sys(),
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", size}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: c.devpts()},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777",
			size}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	}
	for _, m := range c.Mounts {
		options := []string{"rbind", "nosuid", "nodev"}
		if m.ReadOnly {
			options = append(options, "ro")
		}
		list = append(list, specs.Mount{Destination: m.Target, Type: "bind", Source: m.Source,
			Options: append(options, "rprivate")})
	}
	return list
}

func (c Container) devpts() []string {
	options := []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
	if c.TTYGroup != nil {
		options = append(options, "gid="+strconv.FormatUint(uint64(*c.TTYGroup), 10))
	}
	return options
}

func (c Container) sys() specs.Mount {
	options := []string{"nosuid", "noexec", "nodev"}
	if !c.WritableSys {
		options = append(options, "ro")
	}
	if c.LoopbackOnly {
		return specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: options}
	}
	return specs.Mount{Destination: "/sys", Type: "bind", Source: c.Sys,
		Options: append([]string{"rbind"}, append(options, "rprivate")...)}
}

func (c Container) linux() *specs.Linux {
	l := &specs.Linux{
		Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
			{Type: specs.CgroupNamespace},
		},
		MaskedPaths: c.Masked, ReadonlyPaths: c.Locked, RootfsPropagation: "private",
		Seccomp: c.Filter.seccomp(),
	}
	if c.LoopbackOnly {
		l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	}
	if ns := c.UserNS; ns != nil {
		l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: ns.Path})
		l.UIDMappings, l.GIDMappings = mappings(ns.UIDs), mappings(ns.GIDs)
	}
	return l
}

func mappings(m []userns.Range) []specs.LinuxIDMapping {
	var list []specs.LinuxIDMapping
	for _, r := range m {
		list = append(list, specs.LinuxIDMapping{ContainerID: r.Container, HostID: r.Host, Size: r.Length})
	}
	return list
}
