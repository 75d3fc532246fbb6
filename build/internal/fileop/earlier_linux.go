package fileop

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Earlier is the layer that the same instruction has made in an earlier build, of one directory and nothing else. Files
// of which the new layer would have equal ones are linked from there.
type Earlier struct {
	// Dir is the layer's directory. No file in it ever changes.
	Dir *os.File
	// From is the path of the directory in the source, and Into that of the destination in the layer.
	From, Into string
	// Same tells whether the file at a path in the source has the content, with the extended attributes, that it had
	// then. Several goroutines call it.
	Same func(path string) bool
}

// maxNames is how many names a file gets. File systems allow 65,000 and more.
const maxNames = 60_000

// earlier links files from an earlier layer. Several goroutines use it.
type earlier struct {
	Earlier
	below *inodes
	off   atomic.Bool
}

// before gives what links files of an item from CopyOptions.Earlier into its directory d; nil: nothing does.
func (c *copier) before(item source.Selected, d *dir) (*earlier, error) {
	from := c.o.Earlier
	if from == nil || !c.alone || c.o.Shared.AnyBelow || item.Path != from.From || d.path != from.Into {
		return nil, nil //nolint:nilnil // nothing is an answer
	}
	// Of a file with one name the earlier layer is the only one that has it.
	var own, one unix.Stat_t
	if err := unix.Fstat(int(from.Dir.Fd()), &own); err != nil {
		return nil, fmt.Errorf("stat layer: %w", err)
	}
	for _, dir := range c.o.Shared.Below {
		if err := unix.Fstat(int(dir.Fd()), &one); err != nil {
			return nil, fmt.Errorf("stat layer: %w", err)
		}
		if one.Dev != own.Dev || one.Ino == own.Ino {
			return nil, nil //nolint:nilnil // nothing is an answer
		}
	}
	return &earlier{Earlier: *from, below: &inodes{dirs: c.o.Shared.Below}}, nil
}

// linkEarlier makes name in d a link to an equal file of the earlier layer, if there is one.
func (c *copier) linkEarlier(d *dir, name string, e source.Entry) bool {
	from := c.earlier
	if from == nil || d.inherits || from.off.Load() || !from.Same(e.Path()) {
		return false
	}
	st, err := fsys.LstatAt(e.Dir, e.Name)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1 {
		return false
	}
	dir := d.openIn(from.Dir)
	if dir < 0 {
		return false
	}
	own, err := fsys.LstatAt(dir, name)
	if a := c.rules.copied(&st, nil); err != nil || own.Mode != unix.S_IFREG|a.mode || own.Uid != a.uid ||
		own.Gid != a.gid || own.Size != st.Size || own.Mtim != a.mtime || own.Nlink >= maxNames {
		return false
	}
	if own.Nlink > 1 && from.below.has(own.Ino) {
		return false
	}
	if err := c.tree.place(d, name, func() error { return unix.Linkat(dir, name, d.layer, name, 0) }); err != nil {
		from.off.Store(errors.Is(err, unix.EXDEV))
		return false // the error of a name that can't be made comes up again when the file is copied there
	}
	c.tree.set.given.add(Owner{own.Uid, own.Gid})
	c.done.moved(0, own.Size)
	return true
}

// openIn opens the directory of the same path in an earlier layer, once; -1: it has none.
func (d *dir) openIn(layer *os.File) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.sought {
		d.sought, d.earlier = true, -1
		flags := uint64(unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW)
		if fd, err := fsys.OpenPlain(int(layer.Fd()), cmp.Or(d.path, "."), flags); err == nil {
			d.earlier = fd
		}
	}
	return d.earlier
}
