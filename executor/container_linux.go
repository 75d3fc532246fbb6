package executor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/userns"
)

// ids is an owner.
type ids struct{ uid, gid uint32 }

// container is what a step's child finds ready: mounts that hang nowhere yet, and where they go.
type container struct {
	step   Step
	userNS *os.File // nil without Mapping
	nested *os.File // the step's user namespace if it has one without Mapping
	owner  ids      // the container's root, as the caller's user namespace numbers it

	room *os.File // memory file system of ours: /dev, name resolution files, the step's files
	// memory file system of exactly the step's ShmSize for /dev/shm; nil if the back end makes its own
	shm    *os.File
	umask  uint32            // of this process
	names  map[string][]byte // the standard files
	root   *root
	sys    *os.File // detached mounts that every step gets
	pts    *os.File
	mounts []attachment // in the order in which they are attached
	user   User
	env    []string

	devices []string // device nodes that the caller has
	sockets []*listener
	null    *os.File // the null device as the back end wants it
	backEnd backEnd

	own []*os.File
}

// attachment is a mount and the place where the child puts it.
type attachment struct {
	inroot.Point
	mount    *os.File // a detached mount, or
	room     string   // a file or directory in room, cloned
	readOnly bool     // to be set on a clone
	standard bool     // every step gets it, unless its image has sent it elsewhere
	missing  bool     // the root has nothing there
	// writeBack says that what the step writes to a standard file is to be written to the root at the end.
	writeBack bool
	view      *os.File // what lies below, for mount points in it; nil if there can't be any
	bind      *Mount   // the user's own
	plain     *os.File // mount without stubs, if it has got any
	stubs     *os.File // the directory that shows them
}

// prepare has the back end make everything that can be made without the step's namespaces. close must be called also
// after an error.
func (c *container) prepare(choose func(*container) (backEnd, error)) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	if err := c.confine(); err != nil {
		return err
	}
	if c.backEnd, err = choose(c); err != nil {
		return err
	}
	if m := c.step.Mapping; m != nil {
		if err := c.openUserNS(*m); err != nil {
			return err
		}
		if c.owner.uid, err = m.UIDs.ToHost(0); err != nil {
			return err
		}
		if c.owner.gid, err = m.GIDs.ToHost(0); err != nil {
			return err
		}
	}
	return c.backEnd.prepare()
}

// makeMounts makes the root and all that is mounted in it, hanging nowhere yet, and finds out who runs the step.
func (c *container) makeMounts() error {
	for _, do := range []func() error{c.emulate, c.furnish, c.openKernel, c.openRoot, c.checkRoot, c.identify, c.plan} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// confine gives a step that may have CAP_SYS_ADMIN a user namespace below the caller's, with the same IDs. In the
// caller's own it would have power over the caller's mounts, too: since Linux 6.18 a file handle opens any mount
// namespace for whoever has, and setns(2) enters it. In the initial namespace root is root.
func (c *container) confine() error {
	if c.step.Mapping != nil || c.step.Security.caps()&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return nil
	}
	own, err := c.mapping()
	if err != nil || userns.InInitial(own) {
		return err
	}
	below := own.Nested()
	c.step.Mapping, c.step.Shifted = &below, true
	return nil
}

// openUserNS makes the step's user namespace, or takes the one that it is to join.
func (c *container) openUserNS(m userns.Mapping) (err error) {
	if c.step.UserNS != nil {
		c.userNS = c.step.UserNS.File
		return nil
	}
	if c.userNS, err = overlay.NewUserNS(m); err == nil {
		c.own = append(c.own, c.userNS)
	}
	return err
}

// ownUserNS is the user namespace that the step enters, nil if it stays in the caller's.
func (c *container) ownUserNS() *os.File {
	if c.userNS != nil {
		return c.userNS
	}
	return c.nested
}

// openKernel makes the mounts that show the kernel.
func (c *container) openKernel() error {
	sys, err := os.OpenFile("/sys", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer sys.Close()
	attr := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	if !c.step.Security.Insecure {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	c.sys, err = overlay.Bind(sys, overlay.BindOptions{Attr: attr})
	if err != nil {
		return err
	}
	c.own = append(c.own, c.sys)
	tty := uint32(ttyGroup)
	if m := c.step.Mapping; m != nil {
		if tty, err = m.GIDs.ToHost(ttyGroup); err != nil {
			tty = c.owner.gid
		}
	}
	if c.pts, err = overlay.Devpts(tty); err != nil {
		return err
	}
	c.own = append(c.own, c.pts)
	for _, name := range deviceNodes() {
		if exists("dev/" + name) {
			c.devices = append(c.devices, name)
		}
	}
	return nil
}

func (c *container) check() error {
	s := c.step
	switch {
	case len(s.Args) == 0 || s.Args[0] == "":
		return ErrNoArgs
	case s.Network != "" && s.Network != "host" && s.Network != networkNone:
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
func (c *container) checkRoot() error {
	var missing []inroot.Point
	for _, name := range []string{"proc", "sys", "dev"} {
		mode, err := inroot.ModeOf(c.root.dir, name)
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
	return c.root.provide(c, missing)
}

// identify finds out who runs the step.
func (c *container) identify() error {
	var err error
	if c.user, err = LookupUser(c.root.dir, c.step.User); err != nil {
		return err
	}
	if err := c.checkMapped(); err != nil {
		return fmt.Errorf("user %q: %w", c.step.User, err)
	}
	c.env = environ(c.step.Env, c.user.Home)
	return nil
}

// checkMapped finds IDs of the step's user that its user namespace does not have.
func (c *container) checkMapped() error {
	u := c.user
	others := slices.ContainsFunc(u.Groups, func(gid uint32) bool { return gid != 0 })
	if c.step.Mapping == nil && u.UID == 0 && u.GID == 0 && !others { // whoever we are, we are that
		return nil
	}
	m, err := c.mapping()
	if err != nil {
		return err
	}
	groups := []uint32{u.GID}
	if c.canSetGroups() {
		groups = append(groups, u.Groups...)
	}
	for _, gid := range groups {
		if _, _, err := m.ToHost(u.UID, gid); err != nil {
			return err
		}
	}
	return nil
}

// mapping is the map of the user namespace that the step will be in.
func (c *container) mapping() (userns.Mapping, error) {
	if c.step.Mapping != nil {
		return *c.step.Mapping, nil
	}
	return userns.CurrentMapping()
}

// diskMap is the map of the ID-mapped mounts through which the step sees the disk, nil if it has none.
func (c *container) diskMap() *userns.Mapping {
	if c.step.Shifted {
		return nil
	}
	return c.step.Mapping
}

// diskNS is the user namespace with that map.
func (c *container) diskNS() *os.File {
	if c.step.Shifted {
		return nil
	}
	return c.userNS
}

// host turns an owner on an ID-mapped disk into the one that the caller's namespace sees through the mapping; without
// one they are the same.
func (c *container) host(uid, gid uint32) ids {
	if m := c.diskMap(); m != nil {
		u, uidErr := m.UIDs.ToHost(uid)
		g, gidErr := m.GIDs.ToHost(gid)
		if uidErr == nil && gidErr == nil {
			return ids{u, g}
		}
	}
	return ids{uid, gid}
}

// close lets go of everything.
func (c *container) close() error {
	var err error
	if c.root != nil && c.root.ran {
		err = c.keepNames()
	}
	for _, l := range c.sockets {
		l.close()
	}
	for i := len(c.own) - 1; i >= 0; i-- {
		c.own[i].Close()
	}
	for _, f := range []*os.File{c.room, c.shm, c.null} {
		if f != nil {
			f.Close()
		}
	}
	if c.root != nil {
		err = errors.Join(err, c.root.close(c))
		if err != nil && !errors.Is(err, ErrStillWritten) {
			err = fmt.Errorf("clean up step: %w", err)
		}
	}
	return err
}
