package store

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/vbatts/tar-split/tar/asm"
	split "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
)

// LayerStream does what LayerTar does without holding a lock of the store, if the driver stacks directories. LayerTar's
// lock keeps all programs from committing layers while it is read. Without it, files may be removed or changed
// meanwhile, which gives another stream or an error, so the caller must check the digest. The caller closes the stream.
func (s *Store) LayerStream(l Layer) (io.ReadCloser, error) {
	parts, err := s.LayerSources(l)
	if errors.Is(err, ErrNoSources) {
		return s.LayerTar(l)
	}
	if err != nil {
		return nil, err
	}
	return streamOf(parts), nil
}

// Sources are what the library makes a layer's archive of. Who has them closes them.
type Sources struct {
	// Dir is the directory of the layer's files.
	Dir *os.File
	// Records are the layer's tar-split records, uncompressed.
	Records io.ReadCloser
}

// Close closes both.
func (p Sources) Close() error { return errors.Join(p.Dir.Close(), p.Records.Close()) }

// unzipped is what a file has, uncompressed; Close closes the file.
type unzipped struct {
	io.Reader
	*os.File
}

func (u unzipped) Read(p []byte) (int, error) { return u.Reader.Read(p) }

// ErrNoSources says that the library keeps a layer in another way.
var ErrNoSources = errors.New("the layer has no directory and records of its own")

// LayerSources opens the parts of a layer, without a lock: somebody may remove them meanwhile.
func (s *Store) LayerSources(l Layer) (p Sources, err error) {
	if s.Driver() != overlayDriver {
		return p, ErrNoSources // other drivers don't keep a directory with the layer's own files
	}
	dir, err := s.DiffDir(l.ID)
	if err != nil {
		return p, err
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(dir), "composefs-data")); err == nil {
		return p, ErrNoSources
	}
	if p.Dir, err = fsys.OpenDir(dir); err != nil {
		return p, fmt.Errorf("read layer %s: %w", l.ID, err)
	}
	packed, err := os.Open(filepath.Join(s.library.GraphRoot(), overlayDriver+"-layers", l.ID+".tar-split.gz"))
	if err != nil { // the library may not need these files
		return p, errors.Join(ErrNoSources, p.Dir.Close())
	}
	plain, err := gzip.NewReader(packed)
	p.Records = unzipped{plain, packed}
	if err != nil {
		return p, errors.Join(ErrNoSources, p.Close())
	}
	return p, nil
}

// streamOf gives the archive that the parts make, and closes them with it.
func streamOf(p Sources) io.ReadCloser {
	pr, pw := io.Pipe()
	s := &layerStream{PipeReader: pr, of: p, written: make(chan struct{})}
	up := split.NewJSONUnpacker(p.Records)
	go func() {
		defer close(s.written)
		_ = pw.CloseWithError(guard.Call(func() error { return asm.WriteOutputTarStream(layerFiles{p.Dir}, up, pw) }))
	}()
	return s
}

// layerStream is a stream whose Close also closes the files that it is read from.
type layerStream struct {
	*io.PipeReader
	of Sources
	// written is closed when nobody reads from the files any more.
	written chan struct{}
}

func (s *layerStream) Close() error {
	err := s.PipeReader.Close()
	<-s.written // a descriptor that is closed while it is used may be another file's by then
	return errors.Join(err, s.of.Close())
}

// layerFiles opens files of a layer's directory; no link in it leads out of that directory.
type layerFiles struct{ root *os.File }

var _ split.FileGetter = layerFiles{}

func (f layerFiles) Get(name string) (io.ReadCloser, error) {
	fd, err := fsys.OpenPlain(int(f.root.Fd()), strings.TrimLeft(filepath.Clean("/"+name), "/"),
		unix.O_RDONLY|unix.O_NOFOLLOW|
			unix.O_NONBLOCK)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}
