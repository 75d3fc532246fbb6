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
	// Dir is a descriptor of the directory that the name is in. Walk closes it; it is valid during the call.
	Dir  int
	Name string
	// Type is the kind of file, one of unix.DT_*, as the directory lists it. It may be out of date: check it after
	// opening.
	Type uint8
	// Excluded tells that the directory itself isn't selected and is entered only because a file below it may be. Passing
	// tells of such a directory that the filter doesn't hide it.
	Excluded, Passing bool

	dirPath string
}

// Path gives the path of the entry, relative to the root.
func (e Entry) Path() string { return joinPath(e.dirPath, e.Name) }

// A Visitor handles the names that Walk finds. D is the state that it keeps for each directory. Its methods are called
// from several goroutines, but Leave only after all calls for the directory have returned. An error stops the walk.
type Visitor[D any] interface {
	// Enter is called for a directory before any name in it, and gives its state. fd is a descriptor of the directory,
	// which Walk closes.
	Enter(parent D, e Entry, fd int) (D, error)
	// Visit is called for every name that isn't a directory.
	Visit(dir D, e Entry) error
	// Leave is called once for each D that Enter gave. complete is false if the walk stopped before all of the
	// directory was handled.
	Leave(dir D, complete bool) error
}

// A hider is a Visitor that is also told of hidden names, unless a name below them is visible.
type hider[D any] interface {
	hidden(dir D, name string)
}

// An expecter is a Visitor that is told how many names that aren't directories come at once.
type expecter[D any] interface {
	expect(dir D, count int)
}

// A Tree says where Walk starts.
type Tree[D any] struct {
	// Dir and Base name the top directory, as in Selected; Path is its path below the root.
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

// TreeOf gives the tree of a selected directory, or of the selected part of it.
func TreeOf[D any](item Selected, filter Filter, state D) Tree[D] {
	return Tree[D]{Dir: item.Dir, Base: item.Base, Path: item.Path, Filter: filter, State: state, narrow: item.narrow}
}

// Walk visits every visible name below a directory, with several goroutines and in no order. The memory and descriptors
// that it takes grow with the depth of the tree, not with the number of files. Names that vanish meanwhile are left
// out.
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
	w.expecter, _ = v.(expecter[D])
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

// workers gives the number of goroutines to use; asked is Tree.Workers.
func workers(asked int) int {
	if asked > 0 {
		return asked
	}
	return max(2, min(8, runtime.GOMAXPROCS(0)))
}

// descend gives the scope at a directory below the root.
func (s scope) descend(rel string) scope {
	at := ""
	for _, part := range components(rel) {
		at = joinPath(at, part)
		s = s.judge(at, true).below
	}
	return s
}

// walkNode is an open directory. pending counts its unfinished work: 1 while a part of it is to be read, and 1 for each
// directory in it that isn't finished. broken tells that not all of it was handled.
type walkNode[D any] struct {
	parent  *walkNode[D]
	fd      int
	path    string
	state   D
	at      scope
	pending atomic.Int64
	broken  atomic.Bool
}

// walkTask is a task for a worker: to read the next part of the directory node or, if name is set, to enter the
// directory of that name in node.
type walkTask[D any] struct {
	node *walkNode[D]
	name string
	verdict
}

type walker[D any] struct {
	visitor Visitor[D]
	// hider is the visitor if it is a hider, and nil otherwise.
	hider hider[D]
	// expecter is the same for an expecter.
	expecter expecter[D]
	stopped  atomic.Bool

	mu   sync.Mutex
	wake sync.Cond
	// stack holds the tasks; workers take the last one, depth first, so that few directories are open at a time.
	stack []walkTask[D]
	// busy counts the workers that are doing a task and may push more tasks.
	busy int
	err  error
}

func (w *walker[D]) push(t walkTask[D]) {
	w.mu.Lock()
	w.stack = append(w.stack, t)
	w.mu.Unlock()
	w.wake.Signal()
}

// pop waits for a task; false means that there will be no more. done tells that the worker has finished a task.
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

// fail records the first error. The tasks on the stack are then only finished, without visiting more names.
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

// enter opens a directory and calls the visitor's Enter. It returns nil if the directory vanished or there was an
// error.
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

// read handles the next part of a directory, and pushes a task for the part after it, which any worker may do.
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

	if w.expecter != nil && len(files) > 0 {
		w.expecter.expect(node.state, len(files))
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

// finish takes one off the pending work of a directory. If none is left, it leaves the directory, and does the same
// for its parent.
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
