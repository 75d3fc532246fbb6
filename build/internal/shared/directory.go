package shared

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// directory is a place in an OCI layout.
type directory struct {
	spec sharedcache.Spec
	room *Room
}

func (p directory) open(context.Context) (opened, error) {
	l, err := content.OpenLayout(p.spec.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return opened{}, fmt.Errorf("%s: %w", p.spec.Dir, content.ErrNotFound)
	}
	if err != nil {
		return opened{}, err
	}
	root, err := l.Resolve(sharedcache.Tag, "")
	if errors.Is(err, fs.ErrNotExist) { // it has no index yet
		err = fmt.Errorf("%s: %w", p.spec.Dir, content.ErrNotFound)
	}
	if err != nil {
		return opened{}, errors.Join(err, l.Close())
	}
	return opened{l, root, func() { _ = l.Close() }}, nil // it was only read
}

// begin locks the directory against others who write to it.
func (p directory) begin(ctx context.Context, o SaveOptions) (_ writer, err error) {
	if err := os.MkdirAll(p.spec.Dir, 0o777); err != nil {
		return nil, err
	}
	w := &filing{room: p.room, keep: o.Keep(p.spec.Packing), codec: p.spec.Packing.Codec()}
	if w.root, err = os.OpenRoot(p.spec.Dir); err != nil {
		return nil, err
	}
	if w.lock, err = w.root.Open("."); err == nil {
		err = flock.Lock(ctx, w.lock, flock.Exclusive)
	}
	if err == nil {
		err = w.mark()
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	w.shown = p.room.Shown.Begin("writing the cache to " + p.spec.Dir)
	return w, nil
}

// filing writes to a directory, whose lock it has.
type filing struct {
	room  *Room
	root  *os.Root
	lock  *os.File
	keep  export.Keeper
	codec export.Codec
	shown progress.Aside
}

// mark makes an empty directory a layout, and refuses one that holds something else.
func (w *filing) mark() error {
	entries, err := fs.ReadDir(w.root.FS(), ".")
	if err != nil {
		return err
	}
	if _, err := w.root.Stat(ocispec.ImageLayoutFile); err == nil {
		return w.root.MkdirAll(blobDir, 0o777)
	}
	if len(entries) > 0 {
		return export.ErrNotLayout
	}
	text, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	if err := w.root.MkdirAll(blobDir, 0o777); err != nil {
		return err
	}
	return w.replace(ocispec.ImageLayoutFile, bytes.NewReader(text))
}

// blobDir is where a layout has blobs with digests of SHA-256.
const blobDir = ocispec.ImageBlobsDir + "/sha256"

func blobName(d digest.Digest) string { return path.Join(blobDir, d.Encoded()) }

// replace makes what from has the content of a file, which others see whole.
func (w *filing) replace(name string, from io.Reader) (err error) {
	temp := path.Join(path.Dir(name), fsys.TempPrefix+rand.Text())
	f, err := w.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.root.Remove(temp))
		}
	}()
	_, err = io.Copy(f, from)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return w.root.Rename(temp, name)
}

// layer is that of [writer].
func (w *filing) layer(ctx context.Context, l export.Blob) (ocispec.Descriptor, error) {
	return packed{w.keep, w.codec, w.room.Spool}.into(ctx, l, w)
}

// blob is that of [writer].
func (w *filing) blob(ctx context.Context, d ocispec.Descriptor, from io.ReaderAt) error {
	if there, err := w.holds(ctx, d); there || err != nil {
		return err
	}
	return w.replace(blobName(d.Digest), io.NewSectionReader(from, 0, d.Size))
}

func (w *filing) holds(_ context.Context, d ocispec.Descriptor) (bool, error) {
	info, err := w.root.Stat(blobName(d.Digest))
	return err == nil && info.Mode().IsRegular() && info.Size() == d.Size, nil
}

// put is that of [writer]. What the index of the directory names besides the artifact stays; if that is nothing, blobs
// that no record names any more are removed.
func (w *filing) put(_ context.Context, a artifact) error {
	for _, part := range []struct {
		d    ocispec.Descriptor
		text []byte
	}{{a.indexDescriptor(), a.index}, {a.descriptor(), a.manifest}} {
		if err := w.replace(blobName(part.d.Digest), bytes.NewReader(part.text)); err != nil {
			return err
		}
	}
	names := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	if text, err := w.root.ReadFile(ocispec.ImageIndexFile); err == nil {
		if err := json.Unmarshal(text, &names); err != nil {
			return fmt.Errorf("%s: %w", ocispec.ImageIndexFile, err)
		}
	}
	names.Manifests = slices.DeleteFunc(names.Manifests, func(d ocispec.Descriptor) bool {
		return d.Annotations[ocispec.AnnotationRefName] == sharedcache.Tag
	})
	alone := len(names.Manifests) == 0
	d := a.descriptor()
	d.Annotations = map[string]string{ocispec.AnnotationRefName: sharedcache.Tag}
	names.Manifests = append(names.Manifests, d)
	text, err := export.Marshal(names)
	if err != nil {
		return err
	}
	if err := w.replace(ocispec.ImageIndexFile, bytes.NewReader(text)); err != nil || !alone {
		return err
	}
	return w.sweep(a)
}

// sweep removes blobs that the artifact doesn't name, and what killed writers have left.
func (w *filing) sweep(a artifact) error {
	var m ocispec.Manifest
	if err := json.Unmarshal(a.manifest, &m); err != nil {
		return err
	}
	named := map[string]bool{a.descriptor().Digest.Encoded(): true, m.Config.Digest.Encoded(): true}
	for _, l := range m.Layers {
		named[l.Digest.Encoded()] = true
	}
	entries, err := fs.ReadDir(w.root.FS(), blobDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		isBlob := digest.NewDigestFromEncoded(digest.SHA256, name).Validate() == nil
		if !named[name] && e.Type().IsRegular() && (isBlob || strings.HasPrefix(name, fsys.TempPrefix)) {
			if err := w.root.Remove(path.Join(blobDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func (w *filing) end(ctx context.Context, err error) {
	w.shown.End(ctx, err)
	_ = w.close() // everything is written and synced
}

func (w *filing) close() error {
	var err error
	if w.lock != nil {
		err = w.lock.Close()
	}
	return errors.Join(err, w.root.Close())
}
