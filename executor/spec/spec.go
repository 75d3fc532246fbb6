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
	Args, Env []string // the program with its arguments, and "NAME=value"
	Cwd       string   // absolute; "" is "/"
	Hostname  string
	Root      string // directory of the root file system, relative to the bundle or absolute

	User User
	// Caps are the names, with CAP_ in front, of the command's capabilities. Ambient lets a user other than root keep
	// them when the command is executed.
	Caps       []string
	Ambient    bool
	NoNewPrivs bool
	Limits     []Limit

	Hooks   []Hook
	Mounts  []Mount  // besides those of every container, in the order in which they are made
	Masked  []string // absolute paths of files and directories that the command must not see
	Locked  []string // absolute paths that it must not write
	ShmSize int64    // bytes that /dev and /dev/shm may take, each

	// LoopbackOnly gives the container a network namespace of its own. Without it /sys is a bind mount of the absolute
	// path Sys, since a sysfs can be mounted only in a network namespace of the container's. WritableSys leaves out that
	// /sys is read-only.
	LoopbackOnly bool
	Sys          string
	WritableSys  bool

	// SharedIPC, SharedUTS and SharedGroups leave the container in the runtime's namespaces of these kinds.
	SharedIPC, SharedUTS, SharedGroups bool
	// KeepGroups leaves the command the runtime's supplementary groups, which crun alone can.
	KeepGroups bool

	// UserNS is the container's user namespace; nil: it stays in the runtime's.
	UserNS *UserNS
	// TTYGroup is the group of terminals; nil where the container's user namespace lacks it.
	TTYGroup *uint32
	AppArmor string              // a profile
	SELinux  string              // a context
	Filter   *specs.LinuxSeccomp // nil: no system call is denied
}

// User is who the command runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// UserNS is a user namespace: a new one with the map, or the one at Path, which has the map already. In the second case
// the map must be in the kernel's order: old versions of runc don't find it out themselves, and newer ones compare it
// with the kernel's, line by line.
type UserNS struct {
	Path       string // absolute; "": a new namespace
	UIDs, GIDs []userns.Range
}

// Limit is a resource limit, named as in setrlimit(2): RLIMIT_NOFILE.
type Limit struct {
	Name       string
	Soft, Hard uint64 // in the unit that setrlimit(2) gives the resource
}

// Mount is a bind mount, together with all mounts below its source: in a user namespace the kernel refuses to leave
// them out. Set-uid bits in it have no effect,
// and device nodes none either unless it is one.
type Mount struct {
	Source, Target string // absolute; Target has no symbolic link in it
	ReadOnly       bool
	Device         bool // Source is a device node, which works; its owner and mode can't be changed
}

// Hook is a program that the runtime runs at a point of the container's life, which is named as in config.json.
type Hook struct {
	Point, Path string
	Args, Env   []string
	Timeout     *int // seconds
}

// Config writes the container down as the configuration of an OCI runtime.
func Config(c Container) *specs.Spec {
	s := &specs.Spec{
		Version:  version,
		Hostname: c.Hostname,
		Root:     &specs.Root{Path: c.Root},
		Process:  c.process(),
		Mounts:   c.mounts(),
		Linux:    c.linux(),
	}
	s.Hooks = c.hooks()
	if c.SharedUTS {
		s.Hostname = ""
	}
	if c.KeepGroups {
		s.Annotations = map[string]string{"run.oci.keep_original_groups": "1"}
	}
	return s
}

func (c Container) process() *specs.Process {
	umask := uint32(0o022)
	p := &specs.Process{
		Args: c.Args, Env: c.Env, Cwd: c.Cwd, NoNewPrivileges: c.NoNewPrivs, ApparmorProfile: c.AppArmor,
		SelinuxLabel: c.SELinux,
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
		if m.Device {
			options = []string{"bind", "nosuid", "noexec", "ro"}
		}
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
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace},
		},
		MaskedPaths: c.Masked, ReadonlyPaths: c.Locked, RootfsPropagation: "private",
		Seccomp: c.Filter,
	}
	for _, ns := range []struct {
		shared bool
		kind   specs.LinuxNamespaceType
	}{{c.SharedIPC, specs.IPCNamespace}, {c.SharedUTS, specs.UTSNamespace}, {c.SharedGroups, specs.CgroupNamespace}} {
		if !ns.shared {
			l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: ns.kind})
		}
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

// hooks gives the hooks by their points; nil if there is none.
func (c Container) hooks() *specs.Hooks {
	if len(c.Hooks) == 0 {
		return nil
	}
	list := &specs.Hooks{}
	at := map[string]*[]specs.Hook{
		"prestart":      &list.Prestart, //nolint:staticcheck // files of hooks still have it
		"createRuntime": &list.CreateRuntime, "createContainer": &list.CreateContainer,
		"startContainer": &list.StartContainer, "poststart": &list.Poststart, "poststop": &list.Poststop,
	}
	for _, h := range c.Hooks {
		if to := at[h.Point]; to != nil {
			*to = append(*to, specs.Hook{Path: h.Path, Args: h.Args, Env: h.Env, Timeout: h.Timeout})
		}
	}
	return list
}

func mappings(m []userns.Range) []specs.LinuxIDMapping {
	var list []specs.LinuxIDMapping
	for _, r := range m {
		list = append(list, specs.LinuxIDMapping{ContainerID: r.Container, HostID: r.Host, Size: r.Length})
	}
	return list
}
