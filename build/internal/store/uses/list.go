package uses

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// All reads all notes of a kind, by name. It makes few system calls, since each build with a limit on disk space calls
// it.
func (l *Ledger) All(kind Kind) (map[string]Used, error) {
	dir, err := os.Open(filepath.Join(l.dir, notesDir, string(kind)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read notes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read notes: %w", err)
	}
	notes := make(map[string]Used, len(names))
	buf := make([]byte, 64<<10)
	for _, name := range names {
		if u, ok := readNoteAt(int(dir.Fd()), name, buf); ok {
			notes[name] = u
		}
	}
	return notes, nil
}

func readNoteAt(dir int, name string, buf []byte) (u Used, ok bool) {
	fd, err := fsys.OpenAt(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return u, false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return u, false
	}
	if st.Mtim.Sec > 0 {
		u.Last = time.Unix(st.Mtim.Unix())
	}
	n, err := fsys.Retry(func() (int, error) { return unix.Read(fd, buf) })
	if err != nil || json.Unmarshal(buf[:n], &u.Entry) != nil {
		u.Entry = Entry{}
	}
	return u, true
}

// Prune removes the notes of things that don't exist, by there, and weren't used since oldest, when the oldest running
// build began: such a build may be about to make them. It must be called inside WhileDeciding.
func (l *Ledger) Prune(oldest time.Time, there func(Thing) bool) error {
	var errs []error
	for _, kind := range []Kind{Layers, Images, Copies, Mounts} {
		entries, err := os.ReadDir(filepath.Join(l.dir, notesDir, string(kind)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			t := Thing{kind, e.Name()}
			if info, err := e.Info(); err == nil && info.ModTime().Before(oldest) && !there(t) {
				errs = append(errs, l.Forget(t))
			}
		}
	}
	return errors.Join(errs...)
}

// Remeasure marks the layers that share files with others as not measured: they take more space once the others were
// removed.
func (l *Ledger) Remeasure(ctx context.Context) error {
	notes, err := l.All(Layers)
	if err != nil {
		return err
	}
	var linked []Thing
	for name, n := range notes {
		if n.Linked && n.Measured {
			linked = append(linked, Thing{Layers, name})
		}
	}
	if len(linked) == 0 {
		return nil
	}
	return l.WhileDeciding(ctx, func() error {
		var errs []error
		for _, t := range linked {
			if _, err := os.Lstat(l.path(t)); err == nil {
				errs = append(errs, l.Save(t, func(n *Entry) { n.Measured = false }))
			}
		}
		return errors.Join(errs...)
	})
}
