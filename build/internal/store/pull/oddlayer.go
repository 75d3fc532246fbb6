package pull

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/vbatts/tar-split/tar/asm"
	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/chrootarchive"
	"go.podman.io/storage/pkg/unshare"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/scratch"
	"github.com/cooperbuild/cooper/build/internal/store/unpack"
	"github.com/cooperbuild/cooper/internal/guard"
)

// oddLayer is a layer that the storage library can't unpack into an overlay's directory: one with a hard link to a file
// of a layer below, a path that comes twice, or a whiteout of what the layer itself has. It is made of another archive
// with the same result, and its records tell the library how to give back the archive that it came in.
type oddLayer struct {
	copy    *layerCopy
	layer   *pendingLayer
	file    *os.File           // the archive that it came in, perhaps compressed
	members map[int]*oddMember // what becomes of each member, by its number; set by plan
	opaque  []string           // paths of the opaque directories; set by plan
	implied []string           // paths of the directories that no member is, each after those above it; set by plan
	root    *tar.Header        // the root directory's; nil: no member is that; set by write
	// data are the numbers of the members that have data, in order.
	data []int
}

// makeOdd makes a layer that is odd. The caller has the lock of its commit.
func (c *layerCopy) makeOdd(ctx context.Context, l *pendingLayer, content *layerContent) (err error) {
	o := &oddLayer{copy: c, layer: l, file: content.file}
	if err := o.plan(ctx); err != nil {
		return err
	}

	base, remove, err := c.room.store.Parts().Scratch.Dir(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	out := drivers.DriverWithDifferOutput{
		Target: filepath.Join(base, "dir"), UncompressedDigest: l.diffID, Size: l.found.Size,
		UIDs: sorted(l.found.UIDs), GIDs: sorted(l.found.GIDs),
	}

	if content.size == nil {
		out.CompressedDigest = content.digest
	}
	if err := o.unpack(ctx, &out); err != nil {
		return err
	}
	if out.TarSplit, err = o.split(ctx, base); err != nil {
		return err
	}

	made, err := c.room.library.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
		ID: l.id, ParentLayer: l.parent, DiffOutput: &out, DiffOptions: &drivers.ApplyDiffWithDifferOpts{},
		LayerOptions: &storage.LayerOptions{IDMappingOptions: store.HostIDs()},
	})
	if errors.Is(err, storage.ErrDuplicateID) {
		return nil // another tool pulls the same
	}
	if err != nil {
		return err
	}

	c.made = append(c.made, l.id)
	return c.checkOdd(ctx, l, made)
}

// read gives the members of the archive, with their numbers in it.
func (o *oddLayer) read(ctx context.Context, member func(n int, h *tar.Header, r io.Reader) error) error {
	if _, err := o.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	plain, err := unpack.Plain(store.Interruptible(ctx, o.file))
	if err != nil {
		return err
	}
	defer plain.Close()
	r := tar.NewReader(plain)
	for n := 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = member(n, h, r)
		}
		if err != nil {
			return err
		}
	}
}

// plan finds out what becomes of the members.
func (o *oddLayer) plan(ctx context.Context) error {
	tree := newOddTree()
	err := o.read(ctx, func(n int, h *tar.Header, _ io.Reader) error {
		if h.Size > 0 {
			o.data = append(o.data, n)
		}
		return tree.add(h)
	})
	o.members, o.opaque, o.implied = tree.result()
	return err
}

// unpack unpacks the other archive, as the driver would.
func (o *oddLayer) unpack(ctx context.Context, out *drivers.DriverWithDifferOutput) error {
	if err := os.Mkdir(out.Target, 0o755); err != nil {
		return err
	}
	options := &archive.TarOptions{WhiteoutFormat: archive.OverlayWhiteoutFormat, InUserNS: unshare.IsRootless()}
	if o.copy.room.library.Layout.Program.Path != "" {
		options.WhiteoutFormat = archive.AUFSWhiteoutFormat
	}

	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := guard.Call(func() error { return o.write(ctx, w) })
		w.CloseWithError(err)
		written <- err
	}()

	err := chrootarchive.UntarUncompressed(r, out.Target, options)
	_ = r.CloseWithError(errors.New("the archive is not read any more")) // it never fails
	if wrote := <-written; wrote != nil && err != nil {
		return wrote
	}
	if err != nil {
		return err
	}

	if o.root == nil {
		return nil
	}
	// The owner comes first, for it takes setuid and setgid away. The library leaves out what a member says of the root.
	mode := o.root.FileInfo().Mode()
	out.RootDirMode = &mode
	return errors.Join(os.Lchown(out.Target, o.root.Uid, o.root.Gid), os.Chmod(out.Target, mode),
		os.Chtimes(out.Target, time.Time{}, o.root.ModTime))
}

// write writes the other archive.
func (o *oddLayer) write(ctx context.Context, w io.Writer) error {
	below, release, err := o.below()
	if err != nil {
		return err
	}
	defer func() { _ = release() }() // it was only read
	to := tar.NewWriter(w)
	for _, dir := range o.implied { // the library would make them for everybody to write in
		h := &tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Mode: 0o755, ModTime: time.Now()}
		if err := to.WriteHeader(h); err != nil {
			return err
		}
	}
	err = o.read(ctx, func(n int, h *tar.Header, r io.Reader) error {
		m := o.members[n]
		if m == nil {
			return nil
		}
		if m.below != "" {
			file, err := openLower(below, m.below)
			if err != nil {
				return fmt.Errorf("its archive has a hard link %q to %q: %w", h.Name, h.Linkname, err)
			}
			defer func() { _ = file.close() }() // it was only read
			h, r = file.header, file.content
		}
		if m.kind == oddDir && m.names[0] == "/" {
			o.root = h
			return nil
		}
		return m.write(to, h, r)
	})
	if err != nil {
		return err
	}

	for _, dir := range o.opaque {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path.Join(dir, unpack.OpaqueName), "/"), Mode: 0o600}
		if err := to.WriteHeader(h); err != nil {
			return err
		}
	}

	return to.Close()
}

// write writes what becomes of a member.
func (m *oddMember) write(to *tar.Writer, h *tar.Header, data io.Reader) error {
	h.Format = tar.FormatPAX // with whole times
	h.Name = strings.TrimPrefix(m.names[0], "/")
	switch m.kind {
	case oddDir:
		h.Name += "/"
	case oddWhiteout:
		dir, base := path.Split(h.Name)
		h.Name, h.Typeflag, h.Size = dir+unpack.WhiteoutPrefix+base, tar.TypeReg, 0
	}

	if err := to.WriteHeader(h); err != nil {
		return err
	}
	if h.Size > 0 {
		if _, err := io.Copy(to, data); err != nil {
			return err
		}
	}

	for _, name := range m.names[1:] {
		link := *h
		link.Name, link.Typeflag, link.Linkname, link.Size = strings.TrimPrefix(name, "/"), tar.TypeLink, h.Name, 0
		if err := to.WriteHeader(&link); err != nil {
			return err
		}
	}

	return nil
}

// below opens the root file system of the layers below, if a member needs it.
func (o *oddLayer) below() (root *os.File, release func() error, err error) {
	needed := false
	for _, m := range o.members {
		needed = needed || m.below != ""
	}
	if !needed || o.layer.parent == "" {
		return nil, func() error { return nil }, nil
	}
	dir, unmount, err := o.copy.room.store.MountLayer(o.layer.parent)
	if err != nil {
		return nil, nil, err
	}
	if root, err = os.Open(dir); err != nil {
		return nil, nil, errors.Join(err, unmount())
	}
	return root, func() error { return errors.Join(root.Close(), unmount()) }, nil
}

// split makes the records by which the storage library gives the archive that the layer came in.
func (o *oddLayer) split(ctx context.Context, dir string) (_ *os.File, err error) {
	file, err := scratch.FileIn(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()

	if _, err := o.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	plain, err := unpack.Plain(store.Interruptible(ctx, o.file))
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	packer := newOddPacker(file, o)
	stream, done, err := asm.NewInputTarStreamWithDone(plain, packer, packer)
	if err != nil {
		return nil, err
	}

	_, err = io.Copy(io.Discard, stream)
	return file, errors.Join(err, stream.Close(), <-done)
}

// checkOdd reads a layer's archive back: nothing else shows that it can be given to others as it came.
func (c *layerCopy) checkOdd(ctx context.Context, l *pendingLayer, made *storage.Layer) error {
	rc, err := c.room.store.LayerTar(store.FromStorage(made))
	if err != nil {
		return err
	}
	hash := digest.Canonical.Digester()
	_, err = io.Copy(hash.Hash(), store.Interruptible(ctx, rc))
	if err = errors.Join(err, rc.Close()); err == nil && hash.Digest() != l.diffID {
		err = errors.New("it would be given back otherwise")
	}
	if err != nil {
		return c.room.oddError(err)
	}
	return nil
}

// oddError says what can't be done with a layer that is odd.
func (r *Room) oddError(err error) error {
	err = fmt.Errorf("its archive has a path twice, or hides what it has itself, and the storage driver %s can't keep that: %w", r.store.Driver(), err)
	if !r.library.Layout.Stacks {
		err = fmt.Errorf("%w\nhint: the driver overlay can (--storage-driver)", err)
	}
	return err
}
