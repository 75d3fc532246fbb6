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
	userNS *os.File // the user namespace of Step.Mapping, opened by EnterMapping; nil without Mapping
	// nested is the user namespace that emulate makes for the emulators of a step without Mapping; nil in other steps.
	nested *os.File
	owner  IDs // the container's root, in IDs of the caller's user namespace; set by EnterMapping

	// Room is the memory file system, made by furnish, with the step's /dev, name resolution files and Step.Files.
	Room *os.File
	// Shm is the memory file system for /dev/shm, of exactly the step's ShmSize. MakeShm sets it; it is nil if the OCI
	// runtime makes one.
	Shm    *os.File
	umask  uint32            // the mode bits that this process's umask takes away; learnUmask finds them out
	names  map[string][]byte // what makeEtc has put into the standard files, by their paths in the root
	Root   *Root             // made by openRoot
	Sys    *os.File          // detached mount of the caller's /sys, made by openKernel
	Pts    *os.File          // detached mount of a new devpts for /dev/pts, made by openKernel
	Mounts []Attachment      // all other mounts, in the order in which the child attaches them; made by plan
	User   step.User         // who runs the step, and Env the step's environment; Identify sets both
	Env    []string

	Devices []string    // names in /dev of the caller's device nodes that the step gets; set by openKernel
	sockets []*listener // the step's sockets, made by addSockets
	// Null is the null device: the step's input, and outputs without a writer. The back end's Prepare opens it.
	Null *os.File

	Own []*os.File // files that Close closes, the last one first; back ends add theirs
}

// Attachment is a mount and the place where the child puts it: a detached mount (Mount), or else a clone of a file in
// the room (Room).
type Attachment struct {
	inroot.Point
	Mount    *os.File // the detached mount; nil if a clone is mounted
	Room     string   // path in Container.Room of the file or directory whose clone is mounted
	ReadOnly bool     // the child makes the clone read-only; not used with Mount
	standard bool     // it is a standard file: left out if the image has a link into /proc, /sys or /dev there
	missing  bool     // the root had nothing at Point, so placeInRoot has made the mount point
	// writeBack tells that the step's changes to this standard file are written to the root when the step has ended.
	writeBack bool
	view      *os.File    // the mounted directory, in which mount points of deeper mounts are made; nil for a file
	Bind      *step.Mount // the element of Step.Mounts that asks for this mount; nil for all others
	plain     *os.File    // what Mount was before showStub put an overlay with mount points over it; nil if it didn't
	stubs     *os.File    // the directory in the room with the mount points that the overlay shows; nil without one
}

// New checks the step and gives a container for it, for which nothing is prepared yet.
func New(s step.Step) (*Container, error) {
	c := &Container{Step: s}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, c.confine()
}

// EnterMapping makes the step's user namespace, if it has one, and finds out who is root in it. Close must be called
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

// MakeMounts makes the root and all that is mounted in it as detached mounts, and finds out who runs the step.
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

// check refuses a step with missing, impossible or contradictory values.
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
	// The step's user is the root of the caller's user namespace, as this process is.
	if c.Step.Mapping == nil && u.UID == 0 && u.GID == 0 && !others {
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
