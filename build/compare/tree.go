package compare

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/store"
)

// maxFiles is how many files an image may have to be compared.
const maxFiles = 5_000_000

// file is what an image has at a path, as its topmost layer that has it says.
type file struct {
	kind       byte
	mode       int64
	uid, gid   int
	size       int64
	link       string
	modified   int64 // seconds since 1970
	sum        [sha256.Size]byte
	attributes string // the digest of all extended attributes; empty: there are none
	layer      int    // the number of the layer, from 0 at the bottom
	// implied says that it is a directory of which no layer says more than that something is in it.
	implied bool
}

// tree is the files of an image by path.
type tree map[string]file

// streams opens the streams of layers.
type streams interface {
	LayerStream(l store.Layer) (io.ReadCloser, error)
}

// put puts a layer on the tree.
func (t tree) put(ctx context.Context, from streams, l store.Layer, number int) (err error) {
	stream, err := from.LayerStream(l)
	if err != nil {
		return fmt.Errorf("read layer %s: %w", l.DiffID, err)
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	r, gone := tar.NewReader(stream), removed{}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return t.remove(ctx, gone, number)
		}
		if err != nil {
			return fmt.Errorf("read layer %s: %w", l.DiffID, err)
		}
		if err := t.member(h, r, gone, number); err != nil {
			return fmt.Errorf("read layer %s: %w", l.DiffID, err)
		}
	}
}

// removed are the paths of which a layer removes what layers below it have. One with a slash behind it stays itself,
// and loses what is in it.
type removed map[string]bool

// member puts a member of a layer's archive on the tree, or notes in gone what it removes.
func (t tree) member(h *tar.Header, r io.Reader, gone removed, number int) error {
	name := path.Clean("/" + h.Name)
	dir, base := path.Split(name)
	hidden, hides := strings.CutPrefix(base, ".wh.")
	switch {
	case base == ".wh..wh..opq":
		gone[dir] = true
		return nil
	case hides && hidden == "":
		return nil
	case hides:
		gone[dir+hidden] = true
		return nil
	}
	f := file{kind: h.Typeflag, mode: h.Mode, uid: h.Uid, gid: h.Gid, size: h.Size, link: h.Linkname,
		modified: h.ModTime.Unix(), layer: number}
	f.attributes = attributesOf(h)
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return err
	}
	sum.Sum(f.sum[:0])
	if old, there := t[name]; there && old.kind == tar.TypeDir && f.kind != tar.TypeDir {
		gone[name+"/"] = true
	}
	t.imply(dir, number)
	if t[name] = f; len(t) > maxFiles {
		return fmt.Errorf("the image has more than %d files", maxFiles)
	}
	return nil
}

// imply puts the directories on the tree that lead to a file, so that they can be hidden with it.
func (t tree) imply(dir string, number int) {
	for dir = path.Clean(dir); dir != "/"; dir = path.Dir(dir) {
		if _, there := t[dir]; there {
			return
		}
		t[dir] = file{kind: tar.TypeDir, layer: number, implied: true}
	}
}

func attributesOf(h *tar.Header) string {
	sum, some := sha256.New(), false
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if strings.HasPrefix(key, "SCHILY.xattr.") {
			some = true
			_, _ = fmt.Fprintf(sum, "%q=%q\n", key, h.PAXRecords[key]) // it never fails
		}
	}
	if !some {
		return ""
	}
	return string(sum.Sum(nil))
}

// remove takes away what layers below a number have at the paths, in one pass: an archive may have as many whiteouts as
// the layers below have files.
func (t tree) remove(ctx context.Context, gone removed, number int) error {
	if len(gone) == 0 {
		return nil
	}
	for name, f := range t {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if f.layer < number && gone.has(name) {
			delete(t, name)
		}
	}
	// What the layer has itself may lie in directories that were those of layers below.
	var own []string
	for name, f := range t {
		if f.layer == number {
			own = append(own, path.Dir(name))
		}
	}
	for _, dir := range own {
		t.imply(dir, number)
	}
	return nil
}

// has tells whether a path or one above it is removed.
func (r removed) has(name string) bool {
	if r[name] {
		return true
	}
	for at := name; at != "/"; {
		at = path.Dir(at)
		if r[at] || r[strings.TrimSuffix(at, "/")+"/"] {
			return true
		}
	}
	return false
}

// differences are the properties in which two files differ.
func (f file) differences(other file) (all []string) {
	for _, d := range []struct {
		what string
		is   bool
	}{
		{"type", f.kind != other.kind}, {"mode", f.mode != other.mode},
		{"owner", f.uid != other.uid || f.gid != other.gid}, {"content", f.sum != other.sum || f.size != other.size},
		{"link", f.link != other.link}, {"attributes", f.attributes != other.attributes},
		{"time", f.modified != other.modified},
	} {
		if d.is {
			all = append(all, d.what)
		}
	}
	return all
}
