package fileop

import (
	"errors"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
)

// linkKey identifies a source file.
type linkKey struct{ dev, ino uint64 }

// linkTable records where source files that have several names were copied to.
type linkTable struct {
	mu    sync.Mutex
	files map[linkKey]*linkedFile
}

// linkedFile is the first copy of a file: its directory and name in the layer, and whether it succeeded. The copying
// goroutine sets these before it closes done; others read them after that.
type linkedFile struct {
	done      chan struct{}
	dir, name string
	ok        bool
}

// reset forgets all copies, since the next source may replace them.
func (t *linkTable) reset() {
	t.mu.Lock()
	t.files = nil
	t.mu.Unlock()
}

// claim gives the entry of a source file. first tells the caller that it must copy the file and then call settle.
func (t *linkTable) claim(key linkKey) (f *linkedFile, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f, ok := t.files[key]; ok {
		return f, false
	}
	if t.files == nil {
		t.files = map[linkKey]*linkedFile{}
	}
	f = &linkedFile{done: make(chan struct{})}
	t.files[key] = f
	return f, true
}

// settle records where the file was copied to, and wakes the goroutines that wait for it.
func (f *linkedFile) settle(dir, name string, err error) {
	f.dir, f.name, f.ok = dir, name, err == nil
	close(f.done)
}

// hardLink makes name in d a hard link to a file that was copied, or is being copied now. false means that it couldn't,
// and that the caller shall copy the file.
func (c *copier) hardLink(d *dir, name string, f *linkedFile) (bool, error) {
	<-f.done
	if !f.ok {
		return false, c.cause()
	}
	from, err := openBelow(c.tree.root.layer, f.dir)
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(from) }()
	err = c.tree.place(d, name, func() error { return unix.Linkat(from, f.name, d.layer, name, 0) })
	if errors.Is(err, unix.EMLINK) {
		return false, nil
	}
	return err == nil, err
}

// openBelow opens a directory that is known to have no symlink in its path.
func openBelow(root int, path string) (int, error) {
	fd, err := source.OpenDirectory(root, ".")
	for part := range strings.SplitSeq(path, "/") {
		if err != nil || part == "" {
			break
		}
		var next int
		next, err = source.OpenDirectory(fd, part)
		_ = unix.Close(fd)
		fd = next
	}
	return fd, err
}
