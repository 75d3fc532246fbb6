package mounts

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/ids"
	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/internal/memfs"
	"github.com/cooperbuild/cooper/executor/internal/steproot"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/executor/step"
)

// userAttr are the attributes of every mount that a step asks for.
const userAttr = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV

// Attachment is a mount and the place where the child puts it: a detached mount (Mount), or else a clone of a file in
// the memory file system (Memory).
type Attachment struct {
	inroot.Point
	Mount    *os.File // the detached mount; nil if a clone is mounted
	Memory   string   // name in the memory file system of the file or directory whose clone is mounted
	ReadOnly bool     // the child makes the clone read-only; not used with Mount
	// standard is the text of a file that is left out if the image has a link into /proc, /sys or /dev there; nil for all
	// others.
	standard []byte
	missing  bool // the root had nothing at Point, so placeInRoot has made the mount point
	// writeBack tells that the step's changes to this standard file are written to the root when the step has ended.
	writeBack bool
	view      *os.File    // the mounted directory, in which mount points of deeper mounts are made; nil for a file
	Bind      *step.Mount // the mount of the step's that this is; nil for files and sockets
	plain     *os.File    // what Mount was before showStub put an overlay with mount points over it; nil if it didn't
	stubs     *os.File    // the directory in memory with the mount points that the overlay shows; nil without one
}

// Plan is what is mounted where in a step's root, besides the kernel's file systems and /dev.
type Plan struct {
	List []Attachment // all mounts, in the order in which the child attaches them; complete after Make

	ids    *ids.Namespace // the step's user namespace
	memory *memfs.FS      // has the small files, and those of /dev
	root   *steproot.Root // where the mount points are
	own    []*os.File     // mounts and directories that Close closes
}

// New is an empty plan.
func New(namespace *ids.Namespace, memory *memfs.FS, root *steproot.Root) *Plan {
	return &Plan{ids: namespace, memory: memory, root: root}
}

// Close closes all mounts. What the child has attached stays where it is.
func (p *Plan) Close() {
	for _, f := range slices.Backward(p.own) {
		f.Close()
	}
}

// Make opens the step's mounts, decides in which order they and all that was added before are mounted, and makes the
// mount points.
func (p *Plan) Make(mounts []step.Mount) error {
	open := opener{p.ids, p.userXattr()}
	for i := range mounts {
		a, err := open.attachment(&mounts[i])
		if err != nil {
			return fmt.Errorf("mount %s: %w", mounts[i].Target, err)
		}
		p.List = append(p.List, a)
		if a.Mount != nil {
			p.own = append(p.own, a.Mount)
		}
	}

	p.sort()
	if err := p.placeInRoot(); err != nil {
		return err
	}

	p.sort()
	for i, a := range p.List {
		covered := p.covered(i)
		err := p.placeInMount(i)
		if err == nil && a.Bind != nil && a.Bind.Kind == step.Tmpfs {
			err = p.openTmpfs(i, covered)
		}
		if err != nil {
			return fmt.Errorf("mount /%s: %w", a.Name, err)
		}
	}

	return nil
}

// openTmpfs makes the memory file system of mount i, once all mounts below it are made. covered is the mode of the
// directory that it covers.
func (p *Plan) openTmpfs(i int, covered uint32) (err error) {
	a := &p.List[i]
	mode := a.Bind.Mode
	switch {
	case mode == 0 && covered == 0:
		mode = 0o1777
	case mode == 0:
		mode = covered & 0o7777
	}
	attr := userAttr
	if a.Bind.ReadOnly {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	owner := p.ids.Root()
	o := overlay.TmpfsOptions{Size: a.Bind.SizeBytes, Mode: mode, UID: owner.UID, GID: owner.GID, Attr: attr}
	if a.Mount, err = overlay.Tmpfs(o); err != nil {
		return err
	}
	p.own = append(p.own, a.Mount)
	a.view = a.Mount
	return nil
}

// covered gives the mode of the file that mount i covers; 0 if it covers only a mount point that is made for it.
func (p *Plan) covered(i int) uint32 {
	a := p.List[i]
	view, name := p.viewIn(p.List[:i], a.Name)
	switch {
	case view == p.root.Dir && a.missing:
		return 0
	case view == p.root.Dir && inroot.Within(name, "dev"):
		view, name = p.memory.PlaceOf(name)
	}
	mode, err := inroot.ModeOf(view, name)
	if err != nil {
		return 0
	}
	return mode
}

// View gives a view of the mount in which a path of the root lies, and the path in that mount; nil if the mount can't
// be looked into yet.
func (p *Plan) View(name string) (*os.File, string) { return p.viewIn(p.List, name) }

// viewIn is View if there are no other mounts than these.
func (p *Plan) viewIn(mounts []Attachment, name string) (*os.File, string) {
	view, below := p.root.Dir, name
	for _, a := range mounts { // the deepest is last
		rest, ok := strings.CutPrefix(name+"/", a.Name+"/")
		if !ok {
			continue
		}
		if view, below = a.view, strings.TrimSuffix(rest, "/"); a.Mount == nil {
			view, below = p.memory.Dir, a.Memory
		} else if view == nil {
			view = a.Mount
		}
	}
	return view, below
}

// sort puts each mount after the mounts that it lies in: in another order those would cover it.
func (p *Plan) sort() {
	slices.SortStableFunc(p.List, func(a, b Attachment) int {
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
func (p *Plan) placeInRoot() error {
	var missing []inroot.Point
	var kept []Attachment
	renamed := make([]string, len(p.List))
	for i, a := range p.List {
		renamed[i] = a.Name
		if j := p.parent(i); j >= 0 || inroot.Within(a.Name, "dev") {
			if j >= 0 {
				a.Name = renamed[j] + strings.TrimPrefix(a.Name, p.List[j].Name)
				renamed[i] = a.Name
			}
			kept = append(kept, a)
			continue
		}
		found, err := inroot.Locate(p.root.Dir, a.Name)
		if err != nil {
			return fmt.Errorf("mount /%s: %w", a.Name, err)
		}

		switch elsewhere := isKernels(found.Name); {
		case elsewhere && a.standard != nil: // the image has a link in its place, such as /etc/hosts -> /dev/null: leave that
			continue
		case elsewhere || found.Name == "":
			return fmt.Errorf("mount /%s: the image has a symbolic link there to /%s", a.Name, found.Name)
		case found.Exists && found.IsDir() != a.Dir:
			return kindError(found.Name, a.Dir)
		}

		a.Name, renamed[i] = found.Name, found.Name
		if a.standard != nil {
			if p.root.Plant(a.Name, a.standard) {
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
	p.List = kept
	return p.root.Provide(missing)
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
func (p *Plan) parent(i int) int {
	for j := i - 1; j >= 0; j-- {
		if p.List[j].Dir && p.List[i].Name != p.List[j].Name && inroot.Within(p.List[i].Name, p.List[j].Name) {
			return j
		}
	}
	return -1
}

// placeInMount makes the mount point of a mount that lies in /dev or in another mount.
func (p *Plan) placeInMount(i int) error {
	a := p.List[i]
	if j := p.parent(i); j >= 0 {
		return p.placeBelow(&p.List[j], inroot.Point{Name: strings.TrimPrefix(a.Name, p.List[j].Name+"/"), Dir: a.Dir})
	}
	below, ok := strings.CutPrefix(a.Name, "dev/")
	if !ok {
		return nil
	}
	if err := p.memory.Parents("dev", below); err != nil {
		return err
	}
	if mode, err := inroot.ModeOf(p.memory.PlaceOf(a.Name)); err == nil {
		if (inroot.Place{Mode: mode}).IsDir() != a.Dir {
			return kindError(a.Name, a.Dir)
		}
		return nil
	}
	if a.Dir {
		return p.memory.Mkdir(a.Name, 0o755)
	}
	return p.memory.Write(a.Name, nil, 0o644)
}

// placeBelow makes a mount point in the mount a: in a read-only directory with an overlay, in any other as an empty
// file or directory.
func (p *Plan) placeBelow(a *Attachment, at inroot.Point) error {
	mode, err := inroot.ModeOf(a.view, at.Name)
	switch {
	case err == nil && (inroot.Place{Mode: mode}).IsDir() == at.Dir:
		return nil
	case err == nil:
		return kindError(at.Name, at.Dir)
	case errors.Is(err, unix.ELOOP):
		return fmt.Errorf("a symbolic link leads to it in %s: %w", a.Name, err)
	case !errors.Is(err, unix.ENOENT):
		return err
	}
	makeAll := func() error { return inroot.MakeAll(a.view, at) }
	switch {
	case a.Bind.ReadOnly:
		return p.showStub(a, at)
	case a.Bind.Kind == step.Tmpfs: // its files have the owners that this process sees
		return makeAll()
	}
	return p.ids.AsRoot(makeAll)
}

// showStub shows a mount point in a read-only directory, with an overlay of the directory and another directory that
// has the mount point.
func (p *Plan) showStub(a *Attachment, at inroot.Point) error {
	if a.stubs == nil {
		name := "stubs" + strconv.Itoa(len(p.own))
		if err := p.memory.Mkdir(name, 0o755); err != nil {
			return err
		}
		dir, err := inroot.OpenPlain(p.memory.Dir, name, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		p.own = append(p.own, dir)
		a.stubs, a.plain = dir, a.Mount
	}

	owner := p.ids.Root()
	made, err := inroot.MakeStubs(a.stubs, at.Name, at.Dir)
	for _, s := range made {
		if owner != (ids.Pair{}) {
			chownErr := unix.Fchownat(int(s.Parent.Fd()), s.Name, int(owner.UID), int(owner.GID), unix.AT_SYMLINK_NOFOLLOW)
			err = errors.Join(err, chownErr)
		}
		s.Parent.Close()
	}

	if err != nil {
		return err
	}
	// The clone is ID-mapped already, so the overlay isn't.
	view, err := overlay.Mount(overlay.Options{
		Lower: []*os.File{a.plain, a.stubs}, UserXattr: p.userXattr(), Attr: userAttr,
	})
	if err != nil {
		return err
	}
	p.own = append(p.own, view)
	a.Mount, a.view = view, view
	return nil
}

func (p *Plan) userXattr() bool { return p.root.Rootfs.UserXattr || p.root.Rootfs.Dir != nil }
