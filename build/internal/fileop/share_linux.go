package fileop

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Shared says which layers a copy's source and destination are stacked of. Of files that keep all of their attributes
// the copy then makes hard links to those of the source's layers, and others share their blocks, where the file system
// can do that.
type Shared struct {
	// From are directories of layers that Source shows, uppermost first; others may be between. No file in them ever
	// changes.
	From []*os.File
	// Below are those of the layers that the new one will lie on. In one root file system no two files may become one: a
	// program that copies one over the other would find them the same, and an archive of both would have a hard link that
	// nobody made. So a file that is in one of these layers isn't linked.
	Below []*os.File
	// AnyBelow says that the new layer may lie on any others: nothing is linked.
	AnyBelow bool
}

// leastShared is the size in bytes from which on a file's blocks are shared.
const leastShared = 128 << 10

// leastSeveral is how many small files with several names must come before it is worth it to look for these in the
// layers below.
const leastSeveral = 256

// sharer finds files of a stack in its layers, and links them. Several goroutines use it.
type sharer struct {
	// from are the source's layers, uppermost first; shown tells which of them are below the new layer as well.
	from  []*os.File
	shown []bool
	// below are the files of all layers that are below the new one, and marks is the prefix of overlay's attributes in
	// them.
	below *inodes
	marks string
	// latest is the layer in which the last file was found.
	latest atomic.Int32
	// links tells that hard links can be made.
	links atomic.Bool
	// several counts the small files with several names.
	several atomic.Int32

	mu sync.Mutex
	// taken are the inodes of files that are linked already, small ones with one name apart.
	taken map[uint64]bool
}

// newSharer gives what shares files of o.Shared; nil if there is nothing to share. layer is the directory that is
// written to. Inodes tell files apart, so all has to be on one file system.
func newSharer(o CopyOptions, layer int) (*sharer, error) {
	if len(o.Shared.From) == 0 || !o.KeepOwner {
		return nil, nil //nolint:nilnil // nothing is an answer
	}
	var st unix.Stat_t
	if err := unix.Fstat(layer, &st); err != nil {
		return nil, fmt.Errorf("stat layer: %w", err)
	}
	s := &sharer{
		from: o.Shared.From, below: &inodes{dirs: o.Shared.Below}, marks: o.OverlayXattr, taken: map[uint64]bool{},
	}
	s.links.Store(!o.Shared.AnyBelow)
	below := map[uint64]bool{}
	for n, dir := range slices.Concat(o.Shared.Below, s.from) {
		var own unix.Stat_t
		if err := unix.Fstat(int(dir.Fd()), &own); err != nil {
			return nil, fmt.Errorf("stat layer: %w", err)
		}
		if own.Dev != st.Dev {
			return nil, nil //nolint:nilnil // nothing is an answer
		}
		if n < len(o.Shared.Below) {
			below[own.Ino] = true
		} else {
			s.shown = append(s.shown, below[own.Ino])
		}
	}
	return s, nil
}

// original is a file of a layer. st is what the stack shows of it.
type original struct {
	fd    int // O_PATH
	layer int
	st    *unix.Stat_t
}

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func (o original) path() string { return fdPath(o.fd) }

func (o original) close() { _ = unix.Close(o.fd) } // nothing was written through it

// find gives the file of a layer that the stack shows under a path. Which layer has it there, the inode tells.
func (s *sharer) find(path string, st *unix.Stat_t) (original, bool) {
	path = strings.TrimPrefix(path, "/")
	latest := int(s.latest.Load())
	for n := range len(s.from) + 1 {
		if n--; n < 0 {
			n = latest
		} else if n == latest {
			continue
		}
		fd, err := fsys.OpenPlain(int(s.from[n].Fd()), path, unix.O_PATH|unix.O_NOFOLLOW)
		if err != nil {
			continue
		}
		var own unix.Stat_t
		if unix.Fstat(fd, &own) == nil && sameFile(&own, st) {
			s.latest.Store(int32(n))
			return original{fd, n, st}, true
		}
		_ = unix.Close(fd)
	}
	return original{}, false
}

// sameFile compares what an overlay has from the file that it shows.
func sameFile(a, b *unix.Stat_t) bool {
	return a.Ino == b.Ino && a.Mode == b.Mode && a.Size == b.Size && a.Mtim == b.Mtim && a.Uid == b.Uid && a.Gid == b.Gid
}

// mayLink tells whether no other name of the file can be seen where the new layer will be. Files with several names are
// looked for in all layers below, which is worth it for large ones and for many.
func (s *sharer) mayLink(o original) bool {
	st := o.st
	if !s.links.Load() || s.shown[o.layer] || !s.plain(o) {
		return false
	}
	small := st.Size < layer.LargeFileSize
	if small && st.Nlink == 1 {
		return true
	}
	if small && s.several.Add(1) <= leastSeveral || st.Nlink > 1 && s.below.has(st.Ino) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[st.Ino] {
		return false
	}
	s.taken[st.Ino] = true
	return true
}

// plain tells that a file has no attributes but those that copies of it would have, and those that count in no layer.
func (s *sharer) plain(o original) bool {
	var names [1 << 10]byte
	n, err := unix.Listxattr(o.path(), names[:])
	if err != nil {
		return errors.Is(err, unix.ENOTSUP)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		harmless := name == "" || name == s.marks+"origin" || strings.HasPrefix(name, "security.")
		if !harmless && !source.CopiedXattr(name, true) {
			return false
		}
	}
	return true
}

// linkSole makes name in d a link to a file that has no other name, if that can be. It doesn't open the file.
func (c *copier) linkSole(d *dir, name string, e source.Entry) bool {
	if c.share == nil || !c.share.links.Load() {
		return false
	}
	look := func() (unix.Stat_t, error) { return fsys.LstatAt(e.Dir, e.Name) }
	st, err := look()
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1 || st.Size == 0 {
		return false
	}
	from, ok := c.share.find(e.Path(), &st)
	if !ok {
		return false
	}
	defer from.close()
	return c.link(d, name, from, look)
}

// link makes name in d a link to a file of a layer; again gives what the stack shows of it then. false says that it
// can't be one.
func (c *copier) link(d *dir, name string, from original, again func() (unix.Stat_t, error)) bool {
	a := c.rules.copied(from.st, nil)
	if a.uid != from.st.Uid || a.gid != from.st.Gid || a.mode != from.st.Mode&0o7777 || !c.share.mayLink(from) {
		return false
	}
	began := time.Now()
	err := c.tree.place(d, name, func() error {
		return unix.Linkat(unix.AT_FDCWD, from.path(), d.layer, name, unix.AT_SYMLINK_FOLLOW)
	})
	if errors.Is(err, unix.EXDEV) {
		c.share.links.Store(false)
	}
	if err != nil {
		return false // the error of a name that can't be made comes up again when the file is copied there
	}
	c.tree.set.given.add(Owner{a.uid, a.gid})
	c.done.moved(0, from.st.Size)
	if from.st.Size < layer.LargeFileSize || c.o.LargeCopied == nil {
		return true
	}
	if st, err := again(); err == nil { // the link has changed the change time
		c.o.LargeCopied(d.child(name), &st, began)
	}
	return true
}
