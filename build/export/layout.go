package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// maxIndex bounds the index.json that is read back, in bytes.
const maxIndex = 16 << 20

// ErrNotLayout says that the destination directory holds something else.
var ErrNotLayout = errors.New("is neither empty nor an OCI image layout")

// layout writes a layout directory.
type layout struct {
	spools
	dest string
	// stage holds the blobs under temporary names. It is inside dest, or beside it if there is no dest yet.
	stage string
	fresh bool
	blobs []staged
	// made is what commit has made in dest, in order.
	made []string
	done bool
}

// staged is a blob that waits for its name.
type staged struct {
	ocispec.Descriptor
	path string
}

var _ target = (*layout)(nil)

func openLayout(dest string) (*layout, error) {
	l := &layout{dest: filepath.Clean(dest)}
	err := checkDirectory(l.dest)
	if errors.Is(err, fs.ErrNotExist) {
		l.fresh = true
	} else if err != nil {
		return nil, err
	}
	parent := l.dest
	if l.fresh {
		parent = filepath.Dir(l.dest)
	}
	if l.stage, err = mkdirTemp(parent); err != nil {
		return nil, fmt.Errorf("create directory in %s: %w", parent, cause(err))
	}
	return l, nil
}

// checkDirectory makes sure that dir is empty or a layout. Temporary files don't count: they are of somebody who writes to it now.
func checkDirectory(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", dir, cause(err))
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !isTempName(e.Name()) }) {
		return nil
	}
	_, err = readIndex(dir)
	return err
}

// readIndex reads the index of the layout in dir. It is empty if there is no file, which a killed writer may leave.
func readIndex(dir string) (ocispec.Index, error) {
	empty := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	text, err := os.ReadFile(filepath.Join(dir, ocispec.ImageLayoutFile))
	if errors.Is(err, fs.ErrNotExist) {
		return empty, fmt.Errorf("directory %s %w", dir, ErrNotLayout)
	}
	var version ocispec.ImageLayout
	if err == nil {
		err = json.Unmarshal(text, &version)
	}
	if err != nil {
		return empty, fmt.Errorf("read %s of %s: %w", ocispec.ImageLayoutFile, dir, cause(err))
	}
	if version.Version != ocispec.ImageLayoutVersion {
		return empty, fmt.Errorf("read %s of %s: version %q instead of %q", ocispec.ImageLayoutFile, dir, version.Version, ocispec.ImageLayoutVersion)
	}
	f, err := os.Open(filepath.Join(dir, ocispec.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, fmt.Errorf("open %s of %s: %w", ocispec.ImageIndexFile, dir, cause(err))
	}
	defer func() { _ = f.Close() }()
	index := empty
	if err := json.NewDecoder(io.LimitReader(f, maxIndex)).Decode(&index); err != nil {
		return empty, fmt.Errorf("read %s of %s: %w", ocispec.ImageIndexFile, dir, cause(err))
	}
	return index, nil
}

func (l *layout) spool() (*os.File, error) {
	f, err := createTemp(l.stage)
	if err != nil {
		return nil, fmt.Errorf("create temporary file in %s: %w", l.dest, cause(err))
	}
	l.keep(f)
	return f, nil
}

func (l *layout) add(ctx context.Context, b blob) error {
	f := b.file
	if f == nil {
		var err error
		if f, err = l.spool(); err != nil {
			return err
		}
		if b.layer != nil {
			_, err = codec{kind: Uncompressed}.pack(ctx, *b.layer, f, 1)
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
func (l *layout) commit(entries []ocispec.Descriptor) error {
	if l.fresh {
		err := l.commitFresh(entries)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		// Somebody else has made the directory since.
		l.made = nil
	}
	dir, err := os.Open(l.dest)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", l.dest, cause(err))
	}
	// This unlocks it, too.
	defer func() { _ = dir.Close() }()
	// The lock keeps others that write here the same way out for the moment that it takes.
	if err := lock(dir); err != nil {
		return fmt.Errorf("lock directory %s: %w", l.dest, err)
	}
	if err := checkDirectory(l.dest); err != nil {
		return err
	}
	if err := l.fill(l.dest, entries); err != nil {
		l.undo()
		return err
	}
	l.done = true
	// What is left there is not ours to keep: the blobs that others have written before.
	_ = os.RemoveAll(l.stage)
	return nil
}

// commitFresh makes the layout under its temporary name. The error is fs.ErrExist if dest isn't new any more.
func (l *layout) commitFresh(entries []ocispec.Descriptor) error {
	if err := l.fill(l.stage, entries); err != nil {
		return err
	}
	err := unix.Rename(l.stage, l.dest)
	if errors.Is(err, unix.ENOTEMPTY) {
		err = unix.EEXIST
	}
	if err != nil {
		return fmt.Errorf("create directory %s: %w", l.dest, err)
	}
	l.done = true
	syncDir(filepath.Dir(l.dest))
	return nil
}

// lock waits for the directory's lock. A file system without locks is used without.
func lock(dir *os.File) error {
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EINVAL):
			return nil
		default:
			return err
		}
	}
}

func (l *layout) fill(root string, entries []ocispec.Descriptor) error {
	// First, so that whoever comes now sees that this is a layout.
	if err := l.writeVersion(root); err != nil {
		return err
	}
	blobs := filepath.Join(root, ocispec.ImageBlobsDir)
	for _, dir := range []string{blobs, filepath.Join(blobs, digest.SHA256.String())} {
		if err := os.Mkdir(dir, 0o777); err == nil {
			l.made = append(l.made, dir)
		} else if !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("create directory %s: %w", dir, cause(err))
		}
	}
	for i, b := range l.blobs {
		path := filepath.Join(root, filepath.FromSlash(blobPath(b.Descriptor)))
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() == b.Size {
			continue
		}
		if err := os.Rename(b.path, path); err != nil {
			return fmt.Errorf("create blob %s: %w", path, cause(err))
		}
		l.blobs[i].path = path
		l.made = append(l.made, path)
	}
	syncDir(filepath.Join(blobs, digest.SHA256.String()))
	index, err := readIndex(root)
	if err != nil {
		return err
	}
	index.Manifests = mergeIndex(index.Manifests, entries)
	text, err := marshal(index)
	if err != nil {
		return fmt.Errorf("encode %s: %w", ocispec.ImageIndexFile, err)
	}
	return WriteFileAtomic(filepath.Join(root, ocispec.ImageIndexFile), text)
}

func (l *layout) writeVersion(root string) error {
	path := filepath.Join(root, ocispec.ImageLayoutFile)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return wrap("open "+path, cause(err))
	}
	text, err := marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return fmt.Errorf("encode %s: %w", ocispec.ImageLayoutFile, err)
	}
	l.made = append(l.made, path)
	return WriteFileAtomic(path, text)
}

// undo removes what commit has made, last first. What was there before stays.
func (l *layout) undo() {
	for _, path := range slices.Backward(l.made) {
		_ = os.Remove(path)
	}
	l.made = nil
}

func (l *layout) abort() {
	l.closeAll()
	if !l.done {
		_ = os.RemoveAll(l.stage)
	}
}
