package container

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/executor/step"
	"github.com/cooperbuild/cooper/userns"
)

// IDs is the owner and group of a file.
type IDs struct{ UID, GID uint32 }

// Container holds all that is prepared for a step's child: detached mounts, and the places where the child attaches
// them.
type Container struct {
	Step   step.Step
	userNS *os.File // nil without Mapping
	nested *os.File // the step's user namespace if it has one without Mapping
	owner  IDs      // the container's root, as the caller's user namespace numbers it

	Room *os.File // memory file system of ours: /dev, name resolution files, the step's files
	// shm is a memory file system of exactly the step's ShmSize for /dev/shm; nil if the back end makes one itself.
	Shm    *os.File
	umask  uint32            // of this process
	names  map[string][]byte // the standard files
	Root   *Root
	Sys    *os.File // detached mounts that every step gets
	Pts    *os.File
	Mounts []Attachment // in the order in which they are attached
	User   step.User
	Env    []string

	Devices []string // device nodes that the caller has
	sockets []*listener
	Null    *os.File // the null device as the back end wants it

	Own []*os.File
}

// Attachment is a mount and the place where the child puts it.
type Attachment struct {
	inroot.Point
	Mount    *os.File // a detached mount, or
	Room     string   // a file or directory in room, cloned
	ReadOnly bool     // to be set on a clone
	standard bool     // every step gets it, unless its image has sent it elsewhere
	missing  bool     // the root has nothing there
	// writeBack tells that the step's changes to this standard file are written to the root when the step has ended.
	writeBack bool
	view      *os.File    // what lies below, for mount points in it; nil if there can't be any
	Bind      *step.Mount // the user's own
	plain     *os.File    // mount without stubs, if it has got any
	stubs     *os.File    // the directory that shows them
}

// New is the container of a step that makes sense.
func New(s step.Step) (*Container, error) {
	c := &Container{Step: s}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, c.confine()
}

// EnterMapping makes the step's user namespace, if it has one, and finds out who is root in it. close must be called
// also after an error.
func (c *Container) EnterMapping() (err error) {
	m := c.Step.Mapping
	if m == nil {
		return nil
	}
	if err := c.openUserNS(*m); err != nil {
		return err
	}
	if c.owner.UID, err = m.UIDs.ToHost(0); err != nil {
		return err
	}
	c.owner.GID, err = m.GIDs.ToHost(0)
	return err
}

// MakeMounts makes the root and all that is mounted in it, hanging nowhere yet, and finds out who runs the step.
func (c *Container) MakeMounts() error {
	for _, do := range []func() error{c.emulate, c.furnish, c.openKernel, c.openRoot, c.checkRoot, c.Identify, c.plan} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// confine gives a step that may have CAP_SYS_ADMIN a user namespace below the caller's, with the same IDs. In the
// caller's namespace the step would have power over the caller's mounts, too: since Linux 6.18 a process with
// CAP_SYS_ADMIN can open any mount namespace of its user namespace by a file handle, and enter it with setns(2). In the
// initial user namespace that changes nothing: there root has power over everything.
func (c *Container) confine() error {
	if c.Step.Mapping != nil || c.Step.Security.Set()&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return nil
	}
	own, err := c.Mapping()
	if err != nil || userns.InInitial(own) {
		return err
	}
	below := own.Nested()
	c.Step.Mapping, c.Step.Shifted = &below, true
	return nil
}

// openUserNS makes the step's user namespace, or takes the one that it is to join.
func (c *Container) openUserNS(m userns.Mapping) (err error) {
	if c.Step.UserNS != nil {
		c.userNS = c.Step.UserNS.File
		return nil
	}
	if c.userNS, err = overlay.NewUserNS(m); err == nil {
		c.Own = append(c.Own, c.userNS)
	}
	return err
}

// OwnUserNS gives the user namespace that the step enters, nil if it stays in the caller's.
func (c *Container) OwnUserNS() *os.File {
	if c.userNS != nil {
		return c.userNS
	}
	return c.nested
}

// openKernel makes the mounts of the kernel's file systems.
func (c *Container) openKernel() error {
	sys, err := os.OpenFile("/sys", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer sys.Close()
	attr := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	if !c.Step.Security.Insecure {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	c.Sys, err = overlay.Bind(sys, overlay.BindOptions{Attr: attr})
	if err != nil {
		return err
	}
	c.Own = append(c.Own, c.Sys)
	tty := uint32(TtyGroup)
	if m := c.Step.Mapping; m != nil {
		if tty, err = m.GIDs.ToHost(TtyGroup); err != nil {
			tty = c.owner.GID
		}
	}
	if c.Pts, err = overlay.Devpts(tty); err != nil {
		return err
	}
	c.Own = append(c.Own, c.Pts)
	for _, name := range deviceNodes() {
		if Exists("dev/" + name) {
			c.Devices = append(c.Devices, name)
		}
	}

	return nil
}

func (c *Container) check() error {
	s := c.Step
	switch {
	case len(s.Args) == 0 || s.Args[0] == "":
		return step.ErrNoArgs
	case s.Network != "" && s.Network != "host" && s.Network != step.NetworkNone:
		return fmt.Errorf("network %q: want host or none", s.Network)
	case len(s.Hostname) > 64:
		return fmt.Errorf("host name %q: longer than 64 bytes", s.Hostname)
	case s.UserNS != nil && (s.Mapping == nil || s.Mapping != &s.UserNS.Mapping):
		return errors.New("join a user namespace: the step's map is not the namespace's")
	case s.Cwd != "" && !strings.HasPrefix(s.Cwd, "/"):
		return fmt.Errorf("working directory %q: not absolute", s.Cwd)
	}
	return nil
}

// checkRoot refuses an image in which /proc, /sys or /dev lead elsewhere, and provides them if they are missing.
func (c *Container) checkRoot() error {
	var missing []inroot.Point
	for _, name := range []string{"proc", "sys", "dev"} {
		mode, err := inroot.ModeOf(c.Root.Dir, name)
		switch {
		case errors.Is(err, unix.ENOENT):
			missing = append(missing, inroot.Point{Name: name, Dir: true})
		case err != nil:
			return fmt.Errorf("look at /%s in the image: %w", name, err)
		case mode&unix.S_IFMT == unix.S_IFLNK:
			return fmt.Errorf("the image's /%s is a symbolic link: it must be a directory", name)
		case mode&unix.S_IFMT != unix.S_IFDIR:
			return fmt.Errorf("the image's /%s is not a directory", name)
		}
	}
	return c.Root.provide(c, missing)
}

// Identify looks up the user that the step runs as, and makes its environment.
func (c *Container) Identify() error {
	var err error
	if c.User, err = step.LookupUser(c.Root.Dir, c.Step.User); err != nil {
		return err
	}
	if err := c.checkMapped(); err != nil {
		return fmt.Errorf("user %q: %w", c.Step.User, err)
	}
	c.Env = environ(c.Step.Env, c.User.Home)
	return nil
}

// checkMapped refuses a user with IDs that the step's user namespace leaves out.
func (c *Container) checkMapped() error {
	u := c.User
	others := slices.ContainsFunc(u.Groups, func(gid uint32) bool { return gid != 0 })
	if c.Step.Mapping == nil && u.UID == 0 && u.GID == 0 && !others { // whoever we are, we are that
		return nil
	}
	m, err := c.Mapping()
	if err != nil {
		return err
	}
	groups := []uint32{u.GID}
	if c.CanSetGroups() {
		groups = append(groups, u.Groups...)
	}
	for _, gid := range groups {
		if _, _, err := m.ToHost(u.UID, gid); err != nil {
			return err
		}
	}
	return nil
}

// Mapping gives the mapping of the user namespace that the step will be in.
func (c *Container) Mapping() (userns.Mapping, error) {
	if c.Step.Mapping != nil {
		return *c.Step.Mapping, nil
	}
	return userns.CurrentMapping()
}

// diskMap gives the mapping of the ID-mapped mounts through which the step sees files on disk; nil: they aren't
// ID-mapped.
func (c *Container) diskMap() *userns.Mapping {
	if c.Step.Shifted {
		return nil
	}
	return c.Step.Mapping
}

// diskNS gives the user namespace with the mapping that diskMap gives.
func (c *Container) diskNS() *os.File {
	if c.Step.Shifted {
		return nil
	}
	return c.userNS
}

// Host gives the owner that the caller's namespace sees, through an ID-mapped mount, on a file that belongs to uid and
// gid on disk. Without ID-mapped mounts they are the same.
func (c *Container) Host(uid, gid uint32) IDs {
	if m := c.diskMap(); m != nil {
		u, uidErr := m.UIDs.ToHost(uid)
		g, gidErr := m.GIDs.ToHost(gid)
		if uidErr == nil && gidErr == nil {
			return IDs{u, g}
		}
	}
	return IDs{uid, gid}
}

// Close closes all files and mounts, and removes what was made in the root only for the step.
func (c *Container) Close() error {
	var err error
	if c.Root != nil && c.Root.Ran {
		err = c.keepNames()
	}
	for _, l := range c.sockets {
		l.close()
	}
	for i := len(c.Own) - 1; i >= 0; i-- {
		c.Own[i].Close()
	}
	for _, f := range []*os.File{c.Room, c.Shm, c.Null} {
		if f != nil {
			f.Close()
		}
	}
	if c.Root != nil {
		err = errors.Join(err, c.Root.close(c))
		if err != nil && !errors.Is(err, step.ErrStillWritten) {
			err = fmt.Errorf("clean up step: %w", err)
		}
	}
	return err
}
