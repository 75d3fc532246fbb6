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

// ids is the owner and group of a file.
type ids struct{ uid, gid uint32 }

// container holds all that is prepared for a step's child: detached mounts, and the places where the child attaches
// them.
type container struct {
	step   Step
	userNS *os.File // user namespace with the step's Mapping; nil without Mapping
	nested *os.File // the step's user namespace if it has one without Mapping
	owner  ids      // the container's root, as the caller's user namespace numbers it

	room *os.File // memory file system with /dev, the files of name resolution, and the step's Files and Sockets
	// shm is a memory file system of exactly the step's ShmSize for /dev/shm; nil if the back end makes one itself.
	shm    *os.File
	umask  uint32            // of this process
	names  map[string][]byte // content of the standard files, by their path in the root
	root   *root
	sys    *os.File     // detached mount of /sys
	pts    *os.File     // detached mount of /dev/pts
	mounts []attachment // in the order in which they are attached
	user   User
	env    []string

	devices []string // device nodes that the caller has
	sockets []*listener
	null    *os.File // the null device, opened by the back end
	backEnd backEnd

	own []*os.File
}

// attachment is a mount and the place where the child puts it.
type attachment struct {
	inroot.Point
	mount    *os.File // a detached mount; nil if room is set
	room     string   // path of a file or directory in container.room, which the child clones
	readOnly bool     // the child makes the clone of room read-only
	standard bool     // every step gets this mount, unless the image has a symlink there that leads elsewhere
	missing  bool     // the root has no file at the mount point
	// writeBack tells that the step's changes to this standard file are written to the root when the step has ended.
	writeBack bool
	view      *os.File // a view of the mount, in which mount points are looked for; nil if there can't be any
	bind      *Mount   // the Mount of the Step that this one is for; nil for other mounts
	plain     *os.File // the mount as it was before showStub put stubs over it; nil if it has none
	stubs     *os.File // the directory with the stubs
}

// prepare chooses the back end and calls its prepare. close must be called also after an error.
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

// makeMounts makes the root and all mounts in it, detached, and looks up the step's user.
func (c *container) makeMounts() error {
	for _, do := range []func() error{c.emulate, c.furnish, c.openKernel, c.openRoot, c.checkRoot, c.identify, c.plan} {
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

// ownUserNS gives the user namespace that the step enters, nil if it stays in the caller's.
func (c *container) ownUserNS() *os.File {
	if c.userNS != nil {
		return c.userNS
	}
	return c.nested
}

// openKernel makes the mounts of the kernel's file systems.
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

// identify looks up the user that the step runs as, and makes its environment.
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

// checkMapped refuses a user with IDs that the step's user namespace leaves out.
func (c *container) checkMapped() error {
	u := c.user
	others := slices.ContainsFunc(u.Groups, func(gid uint32) bool { return gid != 0 })
	if c.step.Mapping == nil && u.UID == 0 && u.GID == 0 && !others { // this process has ID 0 itself
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

// mapping gives the mapping of the user namespace that the step will be in.
func (c *container) mapping() (userns.Mapping, error) {
	if c.step.Mapping != nil {
		return *c.step.Mapping, nil
	}
	return userns.CurrentMapping()
}

// diskMap gives the mapping of the ID-mapped mounts through which the step sees files on disk; nil: they aren't
// ID-mapped.
func (c *container) diskMap() *userns.Mapping {
	if c.step.Shifted {
		return nil
	}
	return c.step.Mapping
}

// diskNS gives the user namespace with the mapping that diskMap gives.
func (c *container) diskNS() *os.File {
	if c.step.Shifted {
		return nil
	}
	return c.userNS
}

// host gives the owner that the caller's namespace sees, through an ID-mapped mount, on a file that belongs to uid and
// gid on disk. Without ID-mapped mounts they are the same.
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

// close closes all files and mounts, and removes what was made in the root only for the step.
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
