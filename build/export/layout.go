package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/internal/flock"
)

// maxIndex is the size in bytes of the largest index.json that is read.
const maxIndex = 16 << 20

// ErrNotLayout means that the destination directory holds files that aren't an OCI image layout.
var ErrNotLayout = errors.New("is neither empty nor an OCI image layout")

// layout writes a layout directory.
type layout struct {
	spools
	dest string
	// dir is the directory dest; its temporary directory holds the blobs, which have numbers for names until commit.
	dir *outfile.Dir
	// last is the number of the latest blob.
	last  atomic.Int64
	blobs []staged
	// made are the paths of the files and directories that commit has made, in order.
	made []string
}

// staged is a blob that was written to a temporary path.
type staged struct {
	ocispec.Descriptor
	path string
}

var _ form = (*layout)(nil)

func openLayout(dest string) (*layout, error) {
	dir, err := outfile.OpenDir(dest, false)
	if err != nil {
		return nil, err
	}
	l := &layout{dest: filepath.Clean(dest), dir: dir}
	if dir.There() {
		err = l.in(dir.Path()).check()
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return l, nil
}

// layoutDir is a directory that is a layout or becomes one.
type layoutDir struct {
	// path is for system calls, name for people.
	path, name string
}

func (l *layout) in(path string) layoutDir { return layoutDir{path, l.dest} }

func (d layoutDir) join(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

// check refuses a directory that is neither empty nor a layout. Temporary files don't count: another process that
// writes to the layout now has made them.
func (d layoutDir) check() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", d.name, cause(err))
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !outfile.IsTemp(e.Name()) }) {
		return nil
	}
	_, err = d.index()
	return err
}

// index reads the layout's index. A missing file, which a killed writer may leave, counts as an empty index.
func (d layoutDir) index() (ocispec.Index, error) {
	empty := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	text, err := os.ReadFile(d.join(ocispec.ImageLayoutFile))
	if errors.Is(err, fs.ErrNotExist) {
		return empty, fmt.Errorf("directory %s %w", d.name, ErrNotLayout)
	}

	var version ocispec.ImageLayout
	if err == nil {
		err = json.Unmarshal(text, &version)
	}
	if err != nil {
		return empty, fmt.Errorf("read %s of %s: %w", ocispec.ImageLayoutFile, d.name, cause(err))
	}
	if version.Version != ocispec.ImageLayoutVersion {
		return empty, fmt.Errorf("read %s of %s: version %q instead of %q", ocispec.ImageLayoutFile, d.name, version.Version,
			ocispec.ImageLayoutVersion)
	}

	f, err := os.Open(d.join(ocispec.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, fmt.Errorf("open %s of %s: %w", ocispec.ImageIndexFile, d.name, cause(err))
	}
	defer func() { _ = f.Close() }()
	index := empty
	if err := json.NewDecoder(io.LimitReader(f, maxIndex)).Decode(&index); err != nil {
		return empty, fmt.Errorf("read %s of %s: %w", ocispec.ImageIndexFile, d.name, cause(err))
	}

	return index, nil
}

func (l *layout) spool() (*os.File, error) {
	f, err := os.OpenFile(l.next(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("create temporary file in %s: %w", l.dest, cause(err))
	}
	l.keep(f)
	return f, nil
}

// has gives the blob a second name among the temporary ones, so that it stays whatever becomes of the first. A file
// system without such links makes blobs anew.
func (l *layout) has(d ocispec.Descriptor) *os.File {
	if !l.dir.There() {
		return nil
	}
	at := l.in(l.dir.Path()).join(blobPath(d))
	info, err := os.Lstat(at)
	if err != nil || !info.Mode().IsRegular() || info.Size() != d.Size {
		return nil
	}
	path := l.next()
	if os.Link(at, path) != nil {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	l.keep(f)
	return f
}

func (l *layout) take(ctx context.Context, f *os.File) (_ *os.File, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	to, err := l.spool()
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(to, untilDone(ctx, f)); err != nil {
		return nil, fmt.Errorf("write blob: %w", cause(err))
	}
	return to, nil
}

// next is the path of another temporary file.
func (l *layout) next() string {
	return filepath.Join(l.dir.Temp(), strconv.FormatInt(l.last.Add(1), 10))
}

func (l *layout) add(ctx context.Context, b blob) error {
	f := b.file
	if f == nil {
		var err error
		if f, err = l.spool(); err != nil {
			return err
		}
		if b.layer != nil {
			_, err = Codec{Kind: Uncompressed}.Pack(ctx, *b.layer, f, 1)
		} else {
			_, err = f.Write(b.data)
		}
		if err != nil {
			return fmt.Errorf("write blob %s: %w", b.Digest, cause(err))
		}
	}
	l.blobs = append(l.blobs, staged{b.Descriptor, f.Name()})
	if err := syncFile(f); err != nil {
		return fmt.Errorf("sync blob %s: %w", b.Digest, cause(err))
	}
	return wrap("close blob "+b.Digest.String(), cause(l.close(f)))
}

// commit gives the blobs their names, then replaces the index.
func (l *layout) commit(ctx context.Context, c contents) error {
	into := l.dir
	if !l.dir.There() {
		err := l.fill(ctx, l.in(l.dir.Temp()), c.entries)
		if err == nil {
			err = l.dir.Commit()
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		// Another process has made the directory meanwhile.
		l.made = nil
		if into, err = outfile.OpenDir(l.dest, false); err != nil {
			return err
		}
		defer into.Close()
	}

	dir, err := os.Open(into.Path())
	if err != nil {
		return fmt.Errorf("open directory %s: %w", l.dest, cause(err))
	}
	// This unlocks it, too.
	defer func() { _ = dir.Close() }()

	// The lock keeps other processes that commit to this layout out meanwhile. On a file system without locks there is
	// none.
	if err := flock.Lock(ctx, dir, flock.Exclusive); err != nil && !errors.Is(err, flock.ErrUnsupported) {
		return fmt.Errorf("lock directory %s: %w", l.dest, err)
	}

	d := l.in(into.Path())
	if err := d.check(); err != nil {
		return err
	}
	if err := l.fill(ctx, d, c.entries); err != nil {
		l.undo()
		return err
	}

	return nil
}

func (l *layout) fill(ctx context.Context, d layoutDir, entries []ocispec.Descriptor) error {
	// The version comes first, so that other processes see at once that this is a layout.
	if err := l.writeVersion(ctx, d); err != nil {
		return err
	}
	blobs := path.Join(ocispec.ImageBlobsDir, digest.SHA256.String())
	for _, name := range []string{ocispec.ImageBlobsDir, blobs} {
		if err := os.Mkdir(d.join(name), 0o777); err == nil {
			l.made = append(l.made, d.join(name))
		} else if !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("create directory %s: %w", filepath.Join(d.name, name), cause(err))
		}
	}

	for i, b := range l.blobs {
		to := d.join(blobPath(b.Descriptor))
		if info, err := os.Stat(to); err == nil && info.Mode().IsRegular() && info.Size() == b.Size {
			continue
		}
		if err := os.Rename(b.path, to); err != nil {
			return fmt.Errorf("create blob %s: %w", filepath.Join(d.name, blobPath(b.Descriptor)), cause(err))
		}
		l.blobs[i].path = to
		l.made = append(l.made, to)
	}

	syncDir(d.join(blobs))
	index, err := d.index()
	if err != nil {
		return err
	}
	index.Manifests = mergeIndex(index.Manifests, entries)
	return d.write(ctx, ocispec.ImageIndexFile, index)
}

// write writes a file of the layout as JSON.
func (d layoutDir) write(ctx context.Context, name string, value any) error {
	text, err := Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return wrap("write "+name+" of "+d.name, cause(outfile.WriteFile(ctx, d.join(name), text)))
}

func (l *layout) writeVersion(ctx context.Context, d layoutDir) error {
	at := d.join(ocispec.ImageLayoutFile)
	if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) {
		return wrap("open "+filepath.Join(d.name, ocispec.ImageLayoutFile), cause(err))
	}
	l.made = append(l.made, at)
	return d.write(ctx, ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
}

// undo removes the files and directories that commit has made, the last first. Files that existed before stay.
func (l *layout) undo() {
	for _, path := range slices.Backward(l.made) {
		_ = os.Remove(path)
	}
	l.made = nil
}

func (l *layout) abort() {
	l.closeAll()
	l.dir.Close()
}

// syncFile calls fsync, and ignores that a file system hasn't got it.
func syncFile(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

// syncDir makes renames in a directory durable. It ignores errors, since a directory that isn't readable can't be
// opened.
func syncDir(path string) {
	d, err := os.Open(path)
	if err != nil {
		return
	}
	_ = syncFile(d)
	_ = d.Close()
}
