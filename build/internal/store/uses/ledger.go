package uses

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

const (
	notesDir  = "uses"
	notesLock = "uses.lock"
	// sameUse is how long uses by one build count as one.
	sameUse = time.Minute
)

// A Kind is a kind of thing that has notes.
type Kind string

// The kinds, each with the form of Thing.Name.
const (
	Layers Kind = "layers"  // the layer's ID
	Images Kind = "images"  // the image's ID
	Copies Kind = "shifted" // KEY.LAYER
	Mounts Kind = "mounts"  // KEY.NUMBER
	// goneMarks has an empty file for each layer that is being removed: builds must not use that layer any more.
	goneMarks Kind = "gone"
)

// A Thing is something that has a note.
type Thing struct {
	Kind Kind
	Name string
}

// Entry is the text of a note. The zero value is that of a thing of which nothing is known.
type Entry struct {
	// Size is the number of bytes on disk. Measured tells that it is known, Changing that it was measured before the last
	// use, which may have changed it.
	Size     int64 `json:"size,omitempty"`
	Measured bool  `json:"measured,omitempty"`
	Changing bool  `json:"changing,omitempty"`
	// Linked tells that the thing shares files with others, so that its size changes when those are removed.
	Linked bool `json:"linked,omitempty"`
	// Made tells that this program made the layer.
	Made bool `json:"made,omitempty"`
	// Label is for people.
	Label string `json:"label,omitempty"`
	// Project is the context of the build that has made the thing; empty: it isn't known.
	Project string `json:"project,omitempty"`
}

// Used is an entry with the time of the last use; zero: never, or not since it was measured.
type Used struct {
	Entry
	Last time.Time
}

// Ledger keeps the notes of one store. It is safe for concurrent use, by several processes too.
type Ledger struct {
	// dir is cooper's own directory in the store's.
	dir string

	mu sync.Mutex
	// began is when the last build of this process began, which Begin sets; zero: none has.
	began time.Time
}

// New keeps notes in cooper's own directory of a store, which must be there.
func New(dir string) *Ledger { return &Ledger{dir: dir} }

func (l *Ledger) path(t Thing) string { return filepath.Join(l.dir, notesDir, string(t.Kind), t.Name) }

// WhileUsing calls f with the shared lock of uses: no process decides on removals meanwhile, and all later decisions
// see the uses that f has recorded.
func (l *Ledger) WhileUsing(ctx context.Context, f func() error) error {
	return while(ctx, l.dir, flock.Shared, f)
}

// WhileDeciding calls f with the exclusive lock of uses: no process records a use meanwhile. f must not take long.
func (l *Ledger) WhileDeciding(ctx context.Context, f func() error) error {
	return while(ctx, l.dir, flock.Exclusive, f)
}

// while calls f with the lock of uses in a ledger's directory.
func while(ctx context.Context, dir string, kind flock.Kind, f func() error) error {
	lock, err := flock.File(ctx, filepath.Join(dir, notesLock), kind)
	if err != nil {
		return fmt.Errorf("lock uses: %w", err)
	}
	return errors.Join(f(), lock.Close())
}

// Note records a use, and the entry that change makes; a nil change leaves the entry as it is. It must be called inside
// WhileUsing.
func (l *Ledger) Note(t Thing, change func(*Entry)) error {
	now, began := time.Now(), l.begun()
	if now.Before(began) { // the clock was set back
		now = began
	}

	path := l.path(t)
	info, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note use: %w", err)
	}

	old, there := Entry{}, err == nil
	if there && info.ModTime().After(now) {
		now = info.ModTime()
	}
	if there && change != nil {
		old = readNote(path)
	}

	n := old
	if change != nil {
		change(&n)
	}
	if there && n == old {
		if last := info.ModTime(); !began.IsZero() && !last.Before(began) && now.Sub(last) < sameUse {
			return nil // the build has noted it already
		}
		err = os.Chtimes(path, now, now)
	} else {
		err = writeNote(path, n, now)
	}

	if err != nil {
		return fmt.Errorf("note use: %w", err)
	}
	return nil
}

// NoteMade records a layer that this program is going to make, with its size on disk in bytes; 0: not known. It is
// called before the layer is made, since a layer without a note counts as another tool's. The context says for
// which project. It must be called inside WhileUsing.
func (l *Ledger) NoteMade(ctx context.Context, layer string, size int64, linked bool) error {
	return l.Note(Thing{Layers, layer}, func(n *Entry) {
		n.Made, n.Size, n.Measured, n.Linked = true, size, size > 0, linked
		n.of(ctx)
	})
}

// of notes whose the thing is, unless it is known.
func (n *Entry) of(ctx context.Context) {
	if project, ok := ctx.Value(projectKey{}).(string); ok && n.Project == "" {
		n.Project = project
	}
}

// projectKey is the key of the project of a context.
type projectKey struct{}

// WithProject gives a context in which what is made is noted to be a project's.
func WithProject(ctx context.Context, project string) context.Context {
	if project == "" {
		return ctx
	}
	return context.WithValue(ctx, projectKey{}, project)
}

// Save changes a note without recording a use. It must be called inside WhileDeciding.
func (l *Ledger) Save(t Thing, change func(*Entry)) error {
	path := l.path(t)
	used := time.Unix(0, 0)
	if info, err := os.Lstat(path); err == nil {
		used = info.ModTime()
	}
	n := readNote(path)
	old := n
	if change(&n); n == old {
		return nil
	}
	if err := writeNote(path, n, used); err != nil {
		return fmt.Errorf("note size: %w", err)
	}
	return nil
}

// Read gives the entry of a thing; the zero entry if it has no note, or none that can be read.
func (l *Ledger) Read(t Thing) Entry { return readNote(l.path(t)) }

func readNote(path string) (n Entry) {
	if text, err := os.ReadFile(path); err == nil && json.Unmarshal(text, &n) != nil {
		return Entry{}
	}
	return n
}

// writeNote replaces a note as a whole.
func writeNote(path string, n Entry, used time.Time) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return fsys.Replace(path, text, fsys.ReplaceOptions{MakeDirs: true, Modified: used})
}

// LastUse gives the time of a thing's last use; the zero time if it has no note.
func (l *Ledger) LastUse(t Thing) time.Time {
	info, err := os.Lstat(l.path(t))
	if err != nil || info.ModTime().Unix() <= 0 {
		return time.Time{}
	}
	return info.ModTime()
}

// Forget removes the notes of things that were removed.
func (l *Ledger) Forget(things ...Thing) error {
	var errs []error
	for _, t := range things {
		if err := os.Remove(l.path(t)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
