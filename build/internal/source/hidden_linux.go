package source

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// HiddenIn lists the names that a filter hides in one directory and below it. Sockets always count as hidden, since
// COPY leaves them out.
type HiddenIn struct {
	// Name is the directory's name in its parent; "" for the selected directory itself.
	Name string
	// Stat and Xattrs are the attributes of the directory itself, ACLs included.
	Stat   unix.Stat_t
	Xattrs []Xattr
	// Names are the hidden names in the directory. Dirs are its visible directories in or below which a name is hidden.
	// Neither is sorted.
	Names []string
	Dirs  []*HiddenIn
	// Pipes tells that the directory has a named pipe that isn't hidden.
	Pipes bool

	parent *HiddenIn
	// excluded tells that the filter hides the directory itself, so that it is visible only if something in it is.
	excluded bool
	mu       sync.Mutex
	visible  bool
}

// Hidden finds the names that the filter hides in a selected directory.
func Hidden(ctx context.Context, item Selected, filter Filter) (*HiddenIn, error) {
	top := &HiddenIn{}
	fd, err := OpenDirectory(item.Dir, item.Base)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", cmp.Or(item.Path, "."), err)
	}
	err = top.look(fd, item.Path)
	_ = unix.Close(fd)
	if err == nil {
		err = Walk(ctx, TreeOf(item, filter, top), hiding{})
	}
	return top, err
}

// Empty reports whether no name in the directory or below it is hidden.
func (h *HiddenIn) Empty() bool { return len(h.Names)+len(h.Dirs) == 0 }

// look reads the directory's attributes.
func (h *HiddenIn) look(fd int, path string) (err error) {
	if err = unix.Fstat(fd, &h.Stat); err == nil {
		h.Xattrs, err = Xattrs(fd, true)
	}
	if err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	return nil
}

func (h *HiddenIn) hide(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Names = append(h.Names, name)
}

// hiding is the Visitor that collects hidden names.
type hiding struct{}

var (
	_ Visitor[*HiddenIn] = hiding{}
	_ hider[*HiddenIn]   = hiding{}
)

// Enter implements Visitor.
func (hiding) Enter(parent *HiddenIn, e Entry, fd int) (*HiddenIn, error) {
	h := &HiddenIn{Name: e.Name, parent: parent, excluded: e.Excluded}
	return h, h.look(fd, e.Path())
}

// Visit implements Visitor.
func (hiding) Visit(dir *HiddenIn, e Entry) error {
	if e.Type == unix.DT_SOCK {
		dir.hide(e.Name)
		return nil
	}
	dir.mu.Lock()
	defer dir.mu.Unlock()
	dir.visible = true
	dir.Pipes = dir.Pipes || e.Type == unix.DT_FIFO
	return nil
}

// Leave implements Visitor.
func (hiding) Leave(dir *HiddenIn, _ bool) error {
	p := dir.parent
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case dir.excluded && !dir.visible:
		p.Names = append(p.Names, dir.Name)
		return nil
	case !dir.Empty():
		p.Dirs = append(p.Dirs, dir)
	}
	p.visible = true
	p.Pipes = p.Pipes || dir.Pipes
	return nil
}

func (hiding) hidden(dir *HiddenIn, name string) { dir.hide(name) }
