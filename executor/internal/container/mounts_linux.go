package container

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/executor/step"
)

// userAttr are the attributes of every mount that a step asks for.
const userAttr = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV

// plan fills c.Mounts: it decides what is mounted where, and in which order, and makes the mount points.
func (c *Container) plan() error {
	for _, name := range standardFiles() {
		if name == resolvFile && c.Step.DNS.None {
			continue
		}
		c.Mounts = append(c.Mounts, Attachment{Point: inroot.Point{Name: name}, Room: name, standard: true})
	}

	if err := errors.Join(c.addFiles(), c.addSockets()); err != nil {
		return err
	}
	for i := range c.Step.Mounts {
		a, err := c.open(&c.Step.Mounts[i])
		if err != nil {
			return fmt.Errorf("mount %s: %w", c.Step.Mounts[i].Target, err)
		}
		c.Mounts = append(c.Mounts, a)
	}

	c.sort()
	if err := c.placeInRoot(); err != nil {
		return err
	}

	c.sort()
	for i, a := range c.Mounts {
		covered := c.covered(i)
		err := c.placeInMount(i)
		if err == nil && a.Bind != nil && a.Bind.Kind == step.Tmpfs {
			err = c.openTmpfs(i, covered)
		}
		if err != nil {
			return fmt.Errorf("mount /%s: %w", a.Name, err)
		}
	}

	return nil
}

// covered gives the mode of the file that mount i covers; 0 if it covers only a mount point that is made for it.
func (c *Container) covered(i int) uint32 {
	a := c.Mounts[i]
	view, name := c.ViewIn(c.Mounts[:i], a.Name)
	switch {
	case view == c.Root.Dir && a.missing:
		return 0
	case view == c.Root.Dir && inroot.Within(name, "dev"):
		view, name = c.placeOf(name)
	}
	mode, err := inroot.ModeOf(view, name)
	if err != nil {
		return 0
	}
	return mode
}

// ViewIn gives a view of the mount in which a path of the root lies, and the path in that mount; nil if the mount can't
// be looked into yet. mounts are the mounts that are considered.
func (c *Container) ViewIn(mounts []Attachment, name string) (*os.File, string) {
	view, below := c.Root.Dir, name
	for _, a := range mounts { // the deepest is last
		rest, ok := strings.CutPrefix(name+"/", a.Name+"/")
		if !ok {
			continue
		}
		if view, below = a.view, strings.TrimSuffix(rest, "/"); a.Mount == nil {
			view, below = c.Room, a.Room
		} else if view == nil {
			view = a.Mount
		}
	}
	return view, below
}

// sort puts each mount after the mounts that it lies in: in another order those would cover it.
func (c *Container) sort() {
	slices.SortStableFunc(c.Mounts, func(a, b Attachment) int {
		return strings.Count(a.Name, "/") - strings.Count(b.Name, "/")
	})
}

// CleanTarget gives an absolute path relative to the root.
func CleanTarget(target string) (string, error) {
	if !strings.HasPrefix(target, "/") {
		return "", fmt.Errorf("mount %q: the target must be an absolute path", target)
	}
	name := strings.TrimPrefix(path.Clean(target), "/")
	switch {
	case name == "":
		return "", fmt.Errorf("mount %q: the target can't be the root", target)
	case name == "dev" || inroot.Within(name, "proc") || inroot.Within(name, "sys"):
		return "", fmt.Errorf("mount %q: the target belongs to the executor", target)
	}
	return name, nil
}

// placeInRoot finds the mount points that lie in the root file system itself, and makes the missing ones.
func (c *Container) placeInRoot() error {
	var missing []inroot.Point
	var kept []Attachment
	renamed := make([]string, len(c.Mounts))
	for i, a := range c.Mounts {
		renamed[i] = a.Name
		if j := c.parent(i); j >= 0 || inroot.Within(a.Name, "dev") {
			if j >= 0 {
				a.Name = renamed[j] + strings.TrimPrefix(a.Name, c.Mounts[j].Name)
				renamed[i] = a.Name
			}
			kept = append(kept, a)
			continue
		}
		found, err := inroot.Locate(c.Root.Dir, a.Name)
		if err != nil {
			return fmt.Errorf("mount /%s: %w", a.Name, err)
		}

		switch elsewhere := isKernels(found.Name); {
		case elsewhere && a.standard: // the image has a link in its place, such as /etc/hosts -> /dev/null: leave that
			continue
		case elsewhere || found.Name == "":
			return fmt.Errorf("mount /%s: the image has a symbolic link there to /%s", a.Name, found.Name)
		case found.Exists && found.IsDir() != a.Dir:
			return kindError(found.Name, a.Dir)
		}

		a.Name, renamed[i] = found.Name, found.Name
		if a.standard {
			if c.plant(a.Name, c.names[a.Room]) {
				continue
			}
			a.writeBack = true
		}
		if !found.Exists {
			a.missing = true
			missing = append(missing, inroot.Point{Name: found.Name, Dir: a.Dir})
		}
		kept = append(kept, a)
	}
	c.Mounts = kept
	return c.Root.provide(c, missing)
}

// isKernels says that a path of the root lies where every step has mounts of the executor's.
func isKernels(name string) bool {
	return inroot.Within(name, "proc") || inroot.Within(name, "sys") || inroot.Within(name, "dev")
}

func kindError(name string, wantDir bool) error {
	if wantDir {
		return fmt.Errorf("mount /%s: the source is a directory, the image has a file there", name)
	}
	return fmt.Errorf("mount /%s: the source is a file, the image has a directory there", name)
}

// parent gives the index of the mount that mount i lies in, -1 for the root file system.
func (c *Container) parent(i int) int {
	for j := i - 1; j >= 0; j-- {
		if c.Mounts[j].Dir && c.Mounts[i].Name != c.Mounts[j].Name && inroot.Within(c.Mounts[i].Name, c.Mounts[j].Name) {
			return j
		}
	}
	return -1
}

// placeInMount makes the mount point of a mount that lies in /dev or in another mount.
func (c *Container) placeInMount(i int) error {
	a := c.Mounts[i]
	if j := c.parent(i); j >= 0 {
		return c.placeBelow(&c.Mounts[j], inroot.Point{Name: strings.TrimPrefix(a.Name, c.Mounts[j].Name+"/"), Dir: a.Dir})
	}
	below, ok := strings.CutPrefix(a.Name, "dev/")
	if !ok {
		return nil
	}
	if err := c.roomParents("dev", below); err != nil {
		return err
	}
	if mode, err := inroot.ModeOf(c.placeOf(a.Name)); err == nil {
		if (inroot.Place{Mode: mode}).IsDir() != a.Dir {
			return kindError(a.Name, a.Dir)
		}
		return nil
	}
	if a.Dir {
		return c.roomDir(a.Name, 0o755)
	}
	return c.roomFile(a.Name, nil, 0o644)
}

// placeBelow makes a mount point p in the mount a: in a read-only directory with an overlay, in any other as an empty
// file or directory.
func (c *Container) placeBelow(a *Attachment, p inroot.Point) error {
	mode, err := inroot.ModeOf(a.view, p.Name)
	switch {
	case err == nil && (inroot.Place{Mode: mode}).IsDir() == p.Dir:
		return nil
	case err == nil:
		return kindError(p.Name, p.Dir)
	case errors.Is(err, unix.ELOOP):
		return fmt.Errorf("a symbolic link leads to it in %s: %w", a.Name, err)
	case !errors.Is(err, unix.ENOENT):
		return err
	}
	if !a.Bind.ReadOnly {
		return overlay.AsContainerRoot(c.mappingFor(a), func() error { return inroot.MakeAll(a.view, p) })
	}
	return c.showStub(a, p)
}

// showStub shows a mount point in a read-only directory, with an overlay of the directory and another directory that
// has the mount point.
func (c *Container) showStub(a *Attachment, p inroot.Point) error {
	if a.stubs == nil {
		name := "stubs" + strconv.Itoa(len(c.Own))
		if err := c.roomDir(name, 0o755); err != nil {
			return err
		}
		dir, err := inroot.OpenPlain(c.Room, name, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		c.Own = append(c.Own, dir)
		a.stubs, a.plain = dir, a.Mount
	}

	made, err := inroot.MakeStubs(a.stubs, p.Name, p.Dir)
	for _, s := range made {
		if c.owner != (IDs{}) {
			chownErr := unix.Fchownat(int(s.Parent.Fd()), s.Name, int(c.owner.UID), int(c.owner.GID), unix.AT_SYMLINK_NOFOLLOW)
			err = errors.Join(err, chownErr)
		}
		s.Parent.Close()
	}

	if err != nil {
		return err
	}
	// The clone is ID-mapped already, so the overlay isn't.
	view, err := overlay.Mount(overlay.Options{
		Lower: []*os.File{a.plain, a.stubs}, UserXattr: c.userXattr(), Attr: userAttr,
	})
	if err != nil {
		return err
	}
	c.Own = append(c.Own, view)
	a.Mount, a.view = view, view
	return nil
}

func (c *Container) userXattr() bool { return c.Step.Rootfs.UserXattr || c.Step.Rootfs.Dir != nil }
