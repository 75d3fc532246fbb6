package runstep

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/internal/stepinput"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// showContext sets up a bind mount of a context: without the files that the ignore file hides, and with the step's root
// as the owner. It shows the context's own files if the kernel can do that, and otherwise copies. release is never nil.
func (r *Room) showContext(ctx context.Context, em *executor.Mount, from stepinput.Opened, m plan.Mount,
	c runCall) (release func() error, err error) {
	release = func() error { return nil }
	seen := c.seen[contextMount{m.From.Name, m.Source}]
	copies, ns, err := r.showAsRoots(from.Dir, seen, c)
	if err != nil {
		return release, err
	}
	if ns != nil {
		release = ns.Close
	}

	em.UserNS = ns
	if !copies {
		unmask, err := r.mask(ctx, em, from, m, c)
		release = joined(release, unmask)
		if !errors.Is(err, errNoMask) {
			return release, err
		}
		copies = true
	}

	if copies {
		em.UserNS = nil
		em.Source, err = r.copies.get(ctx, copyKey{contextMount{m.From.Name, m.Source}, c.ns.OnDisk(), seen.print},
			func(dir string) error {
				return r.copyContext(ctx, dir, from, m, c)
			})
	}

	return release, err
}

// errNoMask means that the kernel can't hide a part of a context.
var errNoMask = errors.New("this context can't be shown in part")

// rootMode is the mode that steps see on a context's root directory, whatever mode it has on this machine.
const rootMode = 0o755

// mask hides files of a context with whiteouts: the step sees an overlay of the whiteouts and the context. It makes the
// overlay even if no file is hidden, because a socket or pipe in an overlay isn't the host's: a step can't connect to
// the socket of an agent that is made in the context while it runs, nor write to a pipe that a program of the host
// reads. A mount that the step may write to gets a further overlay. Before Linux 6.15, and if the context itself is on
// an overlay, of which the kernel stacks only two, there is no such overlay; then only sockets and pipes that exist
// when the step begins are hidden from it.
func (r *Room) mask(ctx context.Context, em *executor.Mount, from stepinput.Opened, m plan.Mount,
	c runCall) (release func() error, err error) {
	var closers []func() error
	release = func() error {
		var errs []error
		for i := len(closers) - 1; i >= 0; i-- {
			errs = append(errs, closers[i]())
		}
		return errors.Join(errs...)
	}
	sel, err := source.Select(from.Dir, source.Query{Patterns: []string{m.Source}, Filter: from.Filter})
	if err != nil {
		return release, err
	}
	closers = append(closers, sel.Close)
	if len(sel.Items) != 1 {
		return release, errNoMask
	}
	item := sel.Items[0]
	fd, err := unix.Openat(item.Dir, item.Base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return release, &os.PathError{Op: "open", Path: m.Source, Err: err}
	}
	top := os.NewFile(uintptr(fd), m.Source)
	closers = append(closers, top.Close)
	em.Source, em.Subpath = top, ""
	if item.Stat.Mode&unix.S_IFMT == unix.S_IFSOCK {
		return release, fmt.Errorf("source %s is neither a directory nor a regular file", m.Source)
	}
	if !item.IsDir() {
		return release, nil
	}
	hidden, err := source.Hidden(ctx, item, from.Filter)
	if err != nil {
		return release, err
	}
	if item.Path == "" {
		hidden.Stat.Mode = rootMode
	}
	if mayShow, err := r.showsAsItIs(top, item, hidden, m); mayShow || err != nil {
		return release, err
	}
	path, remove, err := r.Inputs.Roots.Store.Parts().Scratch.Tree(ctx, "hidden")
	if err != nil {
		return release, err
	}
	closers = append(closers, remove)
	marks, err := fsys.OpenDir(path)
	if err == nil {
		closers = append(closers, marks.Close)
		err = writeMarks(path, hidden)
	}
	var view *os.File
	if err == nil {
		view, err = r.Inputs.Roots.Overlay(overlay.Options{
			Lower: []*os.File{marks, top}, IDMap: c.ns.Mapping, LowerNS: em.UserNS,
		})
	}
	if err != nil {
		return release, fmt.Errorf("%w: %w", errNoMask, err)
	}
	closers = append(closers, view.Close)
	em.Source, em.UserNS, em.IDMapped = view, nil, true
	return release, nil
}

// showsAsItIs tells whether the step may see the directory itself, without an overlay. The error is errNoMask if it may
// not and an overlay isn't possible either.
func (r *Room) showsAsItIs(top *os.File, item source.Selected, hidden *source.HiddenIn, m plan.Mount) (bool, error) {
	same := item.Stat.Mode&0o7777 == hidden.Stat.Mode&0o7777 && hidden.Empty() && !hidden.Pipes
	views := r.clonesDetached()
	if same && (!views || !m.ReadOnly || isOverlay(top)) {
		return true, nil
	}
	if !views {
		return false, errNoMask
	}
	return false, nil
}

func isOverlay(dir *os.File) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(int(dir.Fd()), &fs) == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC
}

// writeMarks makes a whiteout for each hidden name in a directory. It copies the directory's attributes, since overlay
// shows those of the uppermost directory.
func writeMarks(path string, h *source.HiddenIn) error {
	for _, name := range h.Names {
		if err := unix.Mknod(filepath.Join(path, name), unix.S_IFCHR, 0); err != nil {
			return &os.PathError{Op: "hide", Path: name, Err: err}
		}
	}
	for _, below := range h.Dirs {
		sub := filepath.Join(path, below.Name)
		if err := os.Mkdir(sub, 0o700); err != nil {
			return err
		}
		if err := writeMarks(sub, below); err != nil {
			return err
		}
	}
	return fileop.SetDirAttributes(path, &h.Stat, h.Xattrs)
}

// noMode is a value that isn't the mode of any file: it leaves a mode as it is.
const noMode = ^uint32(0)

// copyContext copies the files that a bind mount shows of a context to dir.
func (r *Room) copyContext(ctx context.Context, dir string, from stepinput.Opened, m plan.Mount, c runCall) error {
	o := fileop.CopyOptions{
		Source: from.Dir, Sources: []string{m.Source}, Ignore: from.Filter, Layer: dir, Dest: m.Source,
	}
	if _, err := fileop.Copy(ctx, o); err != nil {
		return stepinput.ExplainUnreadable(err, from.Filter)
	}
	if m.Source != "/" {
		// Copy doesn't copy the attributes of a directory that is the source, so they are set here.
		top := plan.Mount{Source: m.Source, Mode: noMode}
		err := ownAs(&top, from.Dir)
		if err == nil && top.Mode != noMode {
			err = unix.Chmod(filepath.Join(dir, m.Source), top.Mode)
		}
		if err != nil {
			return err
		}
	}
	return c.ns.Shift(ctx, dir)
}

// copyKey identifies a copy: the context and path, the ID map of the steps that see it, and the fingerprint of the
// files. Steps with the same key share the copy.
type copyKey struct {
	contextMount
	mapping, print string
}

// contextCopies are the copies of contexts that a build has made. close removes them.
type contextCopies struct {
	store *store.Store
	mu    sync.Mutex
	made  map[copyKey]*contextCopy
}

type contextCopy struct {
	once   sync.Once
	dir    *os.File
	remove func() error
	err    error
}

// get gives the copy of a key; the first call for the key makes it.
func (cc *contextCopies) get(ctx context.Context, key copyKey, fill func(dir string) error) (*os.File, error) {
	cc.mu.Lock()
	one := cc.made[key]
	if one == nil {
		one = &contextCopy{}
		cc.made[key] = one
	}
	cc.mu.Unlock()
	one.once.Do(func() {
		var path string
		if path, one.remove, one.err = cc.store.Parts().Scratch.Tree(ctx, "copy"); one.err != nil {
			return
		}
		if one.err = fill(path); one.err == nil {
			one.dir, one.err = fsys.OpenDir(path)
		}
	})
	return one.dir, one.err
}

func (cc *contextCopies) close() error {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	var errs []error
	for _, one := range cc.made {
		if one.dir != nil {
			errs = append(errs, one.dir.Close())
		}
		if one.remove != nil {
			errs = append(errs, one.remove())
		}
	}
	clear(cc.made)
	return errors.Join(errs...)
}
