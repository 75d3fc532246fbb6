package mend

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/idtools"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// errLost says that a layer lacks something that it had.
var errLost = errors.New("lost in a crash")

// measure holds a layer on disk against its digest, and its files against its records.
func (r *Room) measure(ctx context.Context, l *storage.Layer) error {
	if l.UncompressedDigest == "" || !r.store.HasFiles(l.ID) {
		return errLost
	}
	if library.Of(r.store.Parts().Library).Layout.Stacks {
		if err := r.checkStacking(l.ID, l.Parent); err != nil {
			return err
		}
	}

	rc, err := r.store.LayerTar(store.FromStorage(l))
	if err != nil {
		return err
	}

	headers, got, err := readTar(store.Interruptible(ctx, rc))
	if err = errors.Join(err, rc.Close()); err != nil {
		return err
	}
	if got != l.UncompressedDigest {
		return fmt.Errorf("layer %s: %w", l.ID, errLost)
	}
	if !library.Of(r.store.Parts().Library).Layout.Stacks {
		return r.checkCopied(l, headers)
	}

	dir, err := r.store.DiffDir(l.ID)
	if err != nil {
		return err
	}

	// Layers that other tools made may lack what their user can't set.
	c := tarChecker{dir: dir, attributes: library.Of(r.store.Parts().Library).Layout.Renames &&
		r.store.Parts().Uses.Read(uses.Thing{Kind: uses.Layers, Name: l.ID}).Made}
	for _, h := range headers {
		if err := c.check(h); err != nil {
			return err
		}
	}

	return nil
}

// readTar reads a layer's headers, the last of each name, and its digest.
func readTar(r io.Reader) (headers map[string]*tar.Header, d digest.Digest, err error) {
	hash := digest.Canonical.Digester()
	r = io.TeeReader(r, hash.Hash())
	headers = map[string]*tar.Header{}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, "", err
		}
		headers[path.Clean("/"+h.Name)] = h
	}
	_, err = io.Copy(io.Discard, r)
	return headers, hash.Digest(), err
}

// tarChecker checks that the entries of an archive are in dir, the directory of a layer. The contents of files are left
// to the digest.
type tarChecker struct {
	dir string
	// attributes says that owners, modes and extended attributes are looked at.
	attributes bool
}

func (c tarChecker) check(h *tar.Header) error {
	name := path.Clean("/" + h.Name)
	dir, base := path.Split(name)
	if base == archive.WhiteoutOpaqueDir || name == "/" {
		return nil // overlay's mark was set before the file system knew of the layer
	}

	deleted, isDeleted := strings.CutPrefix(base, archive.WhiteoutPrefix)
	full := filepath.Join(c.dir, dir, base)
	if isDeleted {
		full = filepath.Join(c.dir, dir, deleted)
	}

	var st unix.Stat_t
	err := unix.Lstat(full, &st)
	switch {
	case err != nil && isDeleted:
		err = unix.Lstat(filepath.Join(c.dir, name), &st) // the whiteout is a file of that name where a program mounts
		fallthrough
	case err != nil:
		return c.missing(h, err)
	case isDeleted:
		return nil
	}

	if !c.attributes || h.Typeflag == tar.TypeLink {
		return nil
	}
	if h.Typeflag != tar.TypeSymlink && st.Mode&0o7777 != uint32(h.Mode)&0o7777 || int(st.Uid) != h.Uid ||
		int(st.Gid) != h.Gid {
		return fmt.Errorf("%s: %w", name, errLost)
	}

	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok {
			continue
		}
		buf := make([]byte, len(value)+1)
		if n, err := unix.Lgetxattr(full, attr, buf); err != nil || string(buf[:n]) != value {
			return fmt.Errorf("%s: attribute %s: %w", name, attr, errLost)
		}
	}

	return nil
}

// missing judges a name that isn't there: users have no devices.
func (c tarChecker) missing(h *tar.Header, err error) error {
	if err == nil || h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
		return nil
	}
	return fmt.Errorf("%s: %w: %w", h.Name, errLost, err)
}

// checkStacking looks at the files by which overlay finds what is below a layer.
func (r *Room) checkStacking(id, parent string) error {
	home := filepath.Join(r.library.GraphRoot(), library.Overlay)
	read := func(id, name string) (string, error) {
		text, err := os.ReadFile(filepath.Join(home, id, name))
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return string(text), err
	}

	link, err := read(id, "link")
	if err != nil {
		return err
	}

	to, err := os.Readlink(filepath.Join(home, "l", link))
	if err != nil {
		return err
	}
	if to != filepath.Join("..", id, "diff") {
		return fmt.Errorf("layer %s: link %q: %w", id, link, errLost)
	}
	if parent == "" {
		return nil
	}

	below, err := read(parent, "link")
	if err != nil {
		return err
	}

	for name, first := range map[string]string{"lower": filepath.Join("l", below), "lower-layers": parent} {
		have, err := read(id, name)
		if err != nil {
			return err
		}
		rest, err := read(parent, name)
		if err != nil {
			return err
		}
		want := strings.TrimSuffix(first+":"+rest, ":")
		if have != want && (name == "lower" || have != "" || fsys.Exists(filepath.Join(home, id, name))) {
			return fmt.Errorf("layer %s: %s: %w", id, name, errLost)
		}
	}

	return nil
}

// checkCopied looks for changes that aren't the layer's own in a directory that began as a copy of the layer below.
func (r *Room) checkCopied(l *storage.Layer, headers map[string]*tar.Header) (err error) {
	below := ""
	if l.Parent != "" {
		dir, unmount, err := r.store.MountLayer(l.Parent)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unmount()) }()
		below = dir
	}

	dir, unmount, err := r.store.MountLayer(l.ID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	none := &idtools.IDMappings{}
	changes, err := archive.ChangesDirs(dir, none, below, none)
	if err != nil {
		return err
	}

	own := map[string]bool{"/": true}
	var opaque []string // directories in which nothing of the layer below must be left
	for name := range headers {
		if path.Base(name) == archive.WhiteoutOpaqueDir {
			opaque = append(opaque, path.Dir(name)+"/")
		}
		name = path.Join(path.Dir(name), strings.TrimPrefix(path.Base(name), archive.WhiteoutPrefix))
		for ; !own[name]; name = path.Dir(name) {
			own[name] = true
		}
	}

	if i := slices.IndexFunc(changes, func(c archive.Change) bool {
		return !own[c.Path] && !slices.ContainsFunc(opaque, func(dir string) bool { return strings.HasPrefix(c.Path, dir) })
	}); i >= 0 {
		return fmt.Errorf("layer %s: %s: %w", l.ID, changes[i].Path, errLost)
	}

	return nil
}
