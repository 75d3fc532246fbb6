package container

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/overlay"
)

// What every step gets, unless it asks for something else.
const (
	defaultShmSize  = 64 << 20 // bytes
	devSize         = 64 << 20 // bytes that a step may put into /dev itself, /dev/shm apart
	ShmDir          = "dev/shm"
	defaultHostname = "cooper"
	TtyGroup        = 5 // the ID of the group tty, to which terminals belong in all distributions
)

// furnish makes the memory file system with the small files that a step needs, in the directories "dev", "etc" and
// "empty". addFiles and addSockets add to it later.
func (c *Container) furnish() error {
	size := int64(devSize)
	for _, f := range c.Step.Files {
		size += int64(len(f.Data)) + 4096
	}

	room, err := overlay.Tmpfs(overlay.TmpfsOptions{
		Size: size + 1<<20, Mode: 0o755, UID: c.owner.UID, GID: c.owner.GID,
		Attr: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
	})
	if err != nil {
		return err
	}
	c.Room = room
	if err := c.learnUmask("empty"); err != nil {
		return err
	}

	for name, mode := range map[string]uint32{"empty": 0o555, "dev": 0o755, "etc": 0o755} {
		if err := c.roomDir(name, mode); err != nil {
			return err
		}
	}

	if err := c.makeDev(); err != nil {
		return err
	}
	return c.makeEtc()
}

// ShmSize is the size of /dev/shm in bytes.
func (c *Container) ShmSize() int64 {
	if c.Step.ShmSize <= 0 {
		return defaultShmSize
	}
	return c.Step.ShmSize
}

// MakeShm makes the memory file system for /dev/shm. It is separate from the room, whose files would take part of its
// size.
func (c *Container) MakeShm() (err error) {
	c.Shm, err = overlay.Tmpfs(overlay.TmpfsOptions{
		Size: c.ShmSize(), Mode: 0o1777, UID: c.owner.UID, GID: c.owner.GID,
		Attr: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
	})
	return err
}

// deviceNodes gives the names of the caller's device nodes that are mounted in the step: in a user namespace none can
// be made.
func deviceNodes() []string { return []string{"null", "zero", "full", "random", "urandom", "tty"} }

// makeDev makes the room's directory "dev", which becomes the step's /dev.
func (c *Container) makeDev() error {
	for _, d := range []struct {
		name string
		mode uint32
	}{{"dev/pts", 0o755}, {"dev/shm", 0o1777}, {"dev/mqueue", 0o1777}} {
		if err := c.roomDir(d.name, d.mode); err != nil {
			return err
		}
	}
	for _, name := range deviceNodes() {
		if err := unix.Mknodat(int(c.Room.Fd()), "dev/"+name, unix.S_IFREG, 0); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	for name, target := range map[string]string{
		"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2",
	} {
		if err := unix.Symlinkat(target, int(c.Room.Fd()), "dev/"+name); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	return nil
}

// makeEtc makes the standard files, and remembers their text in c.names.
func (c *Container) makeEtc() error {
	hosts, err := hostsFile(c.Hostname(), c.Step.AddHosts)
	if err != nil {
		return err
	}
	resolv, err := c.resolvConf()
	if err != nil {
		return err
	}
	c.names = map[string][]byte{resolvFile: resolv, "etc/hosts": hosts}
	for name, data := range c.names {
		if err := c.roomFile(name, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Hostname is the host name that the step sees: its own choice, or defaultHostname.
func (c *Container) Hostname() string {
	if c.Step.Hostname == "" {
		return defaultHostname
	}
	return c.Step.Hostname
}

// hostsFile gives the text of the step's /etc/hosts, with the "name:address" lines of add.
func hostsFile(hostname string, add []string) ([]byte, error) {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	fmt.Fprintf(&b, "127.0.1.1\t%s\n", hostname)
	for _, line := range add {
		name, address, ok := strings.Cut(line, ":")
		if !ok {
			name, address, ok = strings.Cut(line, "=")
		}
		if address == "host-gateway" { // steps share the host's network
			address = "127.0.0.1"
		}
		ip, err := netip.ParseAddr(strings.Trim(address, "[]"))
		if !ok || err != nil || name == "" || strings.ContainsAny(name, " \t\n#") {
			return nil, fmt.Errorf("host %q: want NAME:ADDRESS", line)
		}
		fmt.Fprintf(&b, "%s\t%s\n", ip, name)
	}
	return []byte(b.String()), nil
}

// learnUmask finds this process's umask from the mode of the new directory probe: the system call would have to change
// it.
func (c *Container) learnUmask(probe string) error {
	var st unix.Stat_t
	fd := int(c.Room.Fd())
	if err := unix.Mkdirat(fd, probe, 0o777); err != nil {
		return fmt.Errorf("make %s for the step: %w", probe, err)
	}
	if err := unix.Fstatat(fd, probe, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("look at %s for the step: %w", probe, err)
	}
	c.umask = 0o777 &^ st.Mode
	return unix.Unlinkat(fd, probe, unix.AT_REMOVEDIR)
}

// placeOf gives the memory file system that holds the file name of the room, and the file's name in it: Shm for files
// in /dev/shm, Room for all others.
func (c *Container) placeOf(name string) (*os.File, string) {
	if below, ok := strings.CutPrefix(name, ShmDir+"/"); ok && c.Shm != nil {
		return c.Shm, below
	}
	return c.Room, name
}

func (c *Container) roomDir(name string, mode uint32) error {
	dir, below := c.placeOf(name)
	if err := unix.Mkdirat(int(dir.Fd()), below, mode); err != nil {
		return fmt.Errorf("make %s for the step: %w", name, err)
	}
	return c.give(name, mode)
}

// roomFile makes a file in the room. The step can't write there yet, so no name is a hostile link.
func (c *Container) roomFile(name string, data []byte, mode uint32) error {
	dir, below := c.placeOf(name)
	fd, err := unix.Openat(int(dir.Fd()), below, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, mode)
	if err != nil {
		return fmt.Errorf("make %s for the step: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if len(data) > 0 {
		if _, err := f.Write(data); err != nil {
			f.Close()
			return fmt.Errorf("write %s for the step: %w", name, err)
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return c.give(name, mode)
}

// give makes the container's root the owner of a file in the room, and sets its mode whatever the umask is.
func (c *Container) give(name string, mode uint32) error { return c.giveTo(name, c.owner, mode) }

// giveTo makes owner, in IDs of the caller's user namespace, the owner of a file in the room, and sets its mode.
func (c *Container) giveTo(name string, owner IDs, mode uint32) error {
	if owner != (IDs{}) {
		dir, below := c.placeOf(name)
		if err := unix.Fchownat(int(dir.Fd()), below, int(owner.UID), int(owner.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("give %s to the step: %w", name, err)
		}
	}
	if mode&(c.umask|0o7000) == 0 {
		return nil
	}
	return c.roomMode(name, mode)
}

func (c *Container) roomMode(name string, mode uint32) error {
	dir, below := c.placeOf(name)
	if err := unix.Fchmodat(int(dir.Fd()), below, mode, 0); err != nil {
		return fmt.Errorf("set mode of %s for the step: %w", name, err)
	}
	return nil
}

// inRoom gives the owner that a file must have in the room so that the step sees uid and gid as its owner.
func (c *Container) inRoom(uid, gid uint32) (IDs, error) {
	if uid == 0 && gid == 0 {
		return c.owner, nil
	}
	m, err := c.Mapping()
	if err != nil {
		return IDs{}, err
	}
	u, g, err := m.ToHost(uid, gid)
	switch {
	case err != nil:
		return IDs{}, err
	case c.Step.Mapping == nil: // the namespace is this process's own
		return IDs{uid, gid}, nil
	}
	return IDs{u, g}, nil
}

// IsAtPlace tells whether a file of the step is put into the room's /dev, where the step sees it without a mount. In
// /dev/shm it is mounted, since it would take part of the step's ShmSize.
func IsAtPlace(target string) bool {
	return inroot.Within(target, "dev") && !inroot.Within(target, ShmDir)
}

// addFiles puts the step's files into the room.
func (c *Container) addFiles() error {
	for i, f := range c.Step.Files {
		target, err := CleanTarget(f.Path)
		if err != nil {
			return err
		}

		owner, err := c.inRoom(f.UID, f.GID)
		if err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}

		name := "file" + strconv.Itoa(i)
		if IsAtPlace(target) {
			if err := c.roomParents("dev", strings.TrimPrefix(target, "dev/")); err != nil {
				return err
			}
			name = target
		} else {
			c.Mounts = append(c.Mounts, Attachment{Point: inroot.Point{Name: target}, Room: name, ReadOnly: true})
		}

		if err := c.roomFile(name, f.Data, f.Mode); err != nil {
			return err
		}
		if err := c.giveTo(name, owner, f.Mode); err != nil {
			return err
		}
	}

	return nil
}

// roomParents makes the directories above name, which is below dir in the room.
func (c *Container) roomParents(dir, name string) error {
	elements := strings.Split(name, "/")
	for _, element := range elements[:len(elements)-1] {
		dir += "/" + element
		if mode, err := inroot.ModeOf(c.placeOf(dir)); err == nil && mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		if err := c.roomDir(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}
