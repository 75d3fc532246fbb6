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
	if s.Driver() != overlayDriver {
		return s.LayerTar(l)
	}
	dir, err := s.DiffDir(l.ID)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(dir), "composefs-data")); err == nil {
		return s.LayerTar(l) // other drivers don't keep a directory with the layer's own files
	}

	root, err := fsys.OpenDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read layer %s: %w", l.ID, err)
	}

	records, err := os.Open(filepath.Join(s.library.GraphRoot(), overlayDriver+"-layers", l.ID+".tar-split.gz"))
	if err != nil { // the library may not need these files
		return orTar(s, l, root.Close())
	}

	unzipped, err := gzip.NewReader(records)
	if err != nil {
		return orTar(s, l, errors.Join(root.Close(), records.Close()))
	}
	return streamOf(root, records, split.NewJSONUnpacker(unzipped)), nil
}

// streamOf gives the archive that the records and the files below root make, and closes both with it.
func streamOf(root, records *os.File, up split.Unpacker) io.ReadCloser {
	pr, pw := io.Pipe()
	s := &layerStream{PipeReader: pr, of: []io.Closer{root, records}, written: make(chan struct{})}
	go func() {
		defer close(s.written)
		_ = pw.CloseWithError(guard.Call(func() error { return asm.WriteOutputTarStream(layerFiles{root}, up, pw) }))
	}()
	return s
}

// orTar gives LayerTar's stream unless err is set.
func orTar(s *Store, l Layer, err error) (io.ReadCloser, error) {
	if err != nil {
		return nil, err
	}
	return s.LayerTar(l)
}

// layerStream is a stream whose Close also closes the files that it is read from.
type layerStream struct {
	*io.PipeReader
	of []io.Closer
	// written is closed when nobody reads from the files any more.
	written chan struct{}
}

func (s *layerStream) Close() error {
	err := s.PipeReader.Close()
	<-s.written // a descriptor that is closed while it is used may be another file's by then
	for _, c := range s.of {
		err = errors.Join(err, c.Close())
	}
	return err
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
