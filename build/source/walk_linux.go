package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
)

// An Entry is one name that Walk meets.
type Entry struct {
	// Dir is the open source directory it is in; it belongs to Walk and is valid during the call.
	Dir  int
	Name string
	// Type is the kind of file, one of unix.DT_*, as the directory said: check it after opening.
	Type uint8
	// Excluded directories are entered only because something below them may be visible. Passing says that such a one
	// isn't hidden: it is only on the way to what is asked for.
	Excluded, Passing bool

	dirPath string
}

// Path is where the entry is, relative to the root.
func (e Entry) Path() string { return joinPath(e.dirPath, e.Name) }

// A Visitor handles what Walk meets. D is what it keeps for each directory. Methods are called from several goroutines,
// but Leave only after everything in the directory is done. An error stops the walk.
type Visitor[D any] interface {
	// Enter is called for a directory before anything in it; fd is the directory, Walk's own.
	Enter(parent D, e Entry, fd int) (D, error)
	// Visit is called for everything else.
	Visit(dir D, e Entry) error
	// Leave is called once for each D that Enter gave. complete is false if the walk stopped before all of the
	// directory was handled.
	Leave(dir D, complete bool) error
}

// A hider is a visitor that is also told of the names that are hidden, once for each that has nothing visible below it.
type hider[D any] interface {
	hidden(dir D, name string)
}

// A Tree says where Walk starts.
type Tree[D any] struct {
	// Dir and Base open the top directory, as in Selected; Path is its path below the root.
	Dir  int
	Base string
	Path string
	// Filter hides names; nil hides none.
	Filter Filter
	// State is the visitor's state for the top directory. Neither Enter nor Leave is called for it.
	State D
	// Workers is how many goroutines share the work; 0 means one for each CPU, but 2 to 8.
	Workers int

	narrow *narrowing
}

// TreeOf is the tree of a selected directory: all of it that is selected.
func TreeOf[D any](item Selected, filter Filter, state D) Tree[D] {
	return Tree[D]{Dir: item.Dir, Base: item.Base, Path: item.Path, Filter: filter, State: state, narrow: item.narrow}
}

// Walk visits everything visible below a directory with several goroutines, in no order. Memory and descriptors grow
// with the depth of the tree, not with the number of files in it. A name that vanishes while Walk looks is left out.
func Walk[D any](ctx context.Context, t Tree[D], v Visitor[D]) error {
	fd, err := OpenDirectory(t.Dir, t.Base)
	if err != nil {
		return fmt.Errorf("open %s: %w", cmp.Or(t.Path, "."), err)
	}
	at := newScope(t.Filter)
	if !at.all() {
		at = at.descend(t.Path)
	}
	at.narrow = t.narrow.at(t.Path)
	w := &walker[D]{visitor: v}
	w.hider, _ = v.(hider[D])
	w.wake.L = &w.mu
	top := &walkNode[D]{fd: fd, path: t.Path, state: t.State, at: at}
	top.pending.Store(1)
	w.push(walkTask[D]{node: top})
	undo := context.AfterFunc(ctx, func() { w.fail(context.Cause(ctx)) })
	var group sync.WaitGroup
	for range workers(t.Workers) {
		group.Go(w.work)
	}
	group.Wait()
	undo()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// workers is the number of goroutines to use.
func workers(asked int) int {
	if asked > 0 {
		return asked
	}
	return max(2, min(8, runtime.GOMAXPROCS(0)))
}

// descend is the scope at a path below the root.
func (s scope) descend(rel string) scope {
	at := ""
	for _, part := range components(rel) {
		at = joinPath(at, part)
		s = s.judge(at, true).below
	}
	return s
}

// walkNode is an open directory. pending counts what is still to be done in it: each part of it that is being read, and
// each directory in it that isn't finished.
type walkNode[D any] struct {
	parent  *walkNode[D]
	fd      int
	path    string
	state   D
	at      scope
	pending atomic.Int64
	broken  atomic.Bool
}

// walkTask is one thing to do: to read the next part of a directory, or, if name is set, to enter that directory in it.
type walkTask[D any] struct {
	node *walkNode[D]
	name string
	verdict
}

type walker[D any] struct {
	visitor Visitor[D]
	// hider is the visitor, too; nil if it isn't one.
	hider   hider[D]
	stopped atomic.Bool

	mu   sync.Mutex
	wake sync.Cond
	// stack is worked on from its end: depth first, so that few directories are open at a time.
	stack []walkTask[D]
	// busy counts the workers that have a task in hand and may push more.
	busy int
	err  error
}

func (w *walker[D]) push(t walkTask[D]) {
	w.mu.Lock()
	w.stack = append(w.stack, t)
	w.mu.Unlock()
	w.wake.Signal()
}

// pop waits for a task; false means that there will be none.
func (w *walker[D]) pop(done bool) (walkTask[D], bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if done {
		w.busy--
	}
	for len(w.stack) == 0 {
		if w.busy == 0 {
			w.wake.Broadcast()
			return walkTask[D]{}, false
		}
		w.wake.Wait()
	}
	last := len(w.stack) - 1
	t := w.stack[last]
	w.stack[last] = walkTask[D]{}
	w.stack = w.stack[:last]
	w.busy++
	return t, true
}

// fail keeps the first error; what is on the stack is only tidied up from then on.
func (w *walker[D]) fail(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.mu.Unlock()
	w.stopped.Store(true)
}

func (w *walker[D]) work() {
	buf := make([]byte, 32<<10)
	for t, ok := w.pop(false); ok; t, ok = w.pop(true) {
		if err := guard.Call(func() error { w.do(t, buf); return nil }); err != nil {
			w.fail(err)
		}
	}
}

func (w *walker[D]) do(t walkTask[D], buf []byte) {
	node := t.node
	if t.name != "" {
		if node = w.enter(t); node == nil {
			w.finish(t.node)
			return
		}
	}
	w.read(node, buf)
}

// enter opens a directory. It returns nil if there is nothing to be read.
func (w *walker[D]) enter(t walkTask[D]) *walkNode[D] {
	if w.stopped.Load() {
		t.node.broken.Store(true)
		return nil
	}
	e := Entry{Dir: t.node.fd, Name: t.name, Type: unix.DT_DIR, Excluded: t.excluded, Passing: t.passing,
		dirPath: t.node.path}
	path := e.Path()
	if len(path) > maxPath {
		w.fail(fmt.Errorf("read %.60s...: %w", path, unix.ENAMETOOLONG))
		return nil
	}
	fd, err := OpenDirectory(t.node.fd, t.name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		w.fail(fmt.Errorf("open %s: %w", cmp.Or(path, "."), err))
		return nil
	}
	state, err := w.visitor.Enter(t.node.state, e, fd)
	if err != nil {
		_ = unix.Close(fd)
		w.fail(err)
		return nil
	}
	node := &walkNode[D]{parent: t.node, fd: fd, path: path, state: state, at: t.below}
	node.pending.Store(1)
	return node
}

// read handles the next part of a directory. The part after it is left for whoever is free.
func (w *walker[D]) read(node *walkNode[D], buf []byte) {
	defer w.finish(node)
	if w.stopped.Load() {
		node.broken.Store(true)
		return
	}
	entries, more, err := fsys.Getdents(node.fd, buf, nil)
	if err != nil {
		w.fail(fmt.Errorf("read %s: %w", cmp.Or(node.path, "."), err))
	}
	if err != nil || !more {
		return
	}
	node.pending.Add(1)
	w.push(walkTask[D]{node: node})
	w.handle(node, entries)
}

// handle first pushes the directories, so that others can start on them, and then visits the files.
func (w *walker[D]) handle(node *walkNode[D], entries []fsys.Dirent) {
	files := entries[:0]
	for _, d := range entries {
		gone, err := d.FillType(node.fd)
		if err != nil {
			w.fail(fmt.Errorf("stat %s: %w", joinPath(node.path, d.Name), err))
			return
		}
		if gone {
			continue
		}
		var v verdict
		if !node.at.all() {
			v = node.at.judge(joinPath(node.path, d.Name), d.Type == unix.DT_DIR)
		}
		switch {
		case v.hidden:
			if w.hider != nil {
				w.hider.hidden(node.state, d.Name)
			}
		case d.Type == unix.DT_DIR:
			node.pending.Add(1)
			w.push(walkTask[D]{node: node, name: d.Name, verdict: v})
		default:
			files = append(files, d)
		}
	}
	for _, d := range files {
		if w.stopped.Load() {
			node.broken.Store(true)
			return
		}
		if err := w.visitor.Visit(node.state, Entry{Dir: node.fd, Name: d.Name, Type: d.Type,
			dirPath: node.path}); err != nil {
			w.fail(err)
			return
		}
	}
}

// finish takes one off what is to be done in a directory, and leaves it and those above it that are done by that.
func (w *walker[D]) finish(node *walkNode[D]) {
	for node != nil && node.pending.Add(-1) == 0 {
		_ = unix.Close(node.fd)
		if node.parent != nil {
			complete := !node.broken.Load() && !w.stopped.Load()
			if err := w.visitor.Leave(node.state, complete); err != nil {
				w.fail(err)
			}
		}
		node = node.parent
	}
}
