package partial

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	split "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// maxIndexed is how many files an Index has at most: 20 MiB or so.
const maxIndexed = 1 << 17

// data names what a file holds, as the records of its layer do.
type data struct {
	size int64
	crc  uint64
}

// dataOf reads an entry of records; ok is false for what has no data.
func dataOf(e *split.Entry) (d data, ok bool) {
	if e.Type != split.FileType || e.Size <= 0 || len(e.Payload) != 8 {
		return d, false
	}
	return data{e.Size, binary.BigEndian.Uint64(e.Payload)}, true
}

// place is where a file lies.
type place struct {
	layer int
	name  string
}

// Index finds files of layers by what they hold. Once all layers are added it is safe for concurrent use.
type Index struct {
	layers []*os.File
	files  map[data]place
}

// Add adds the files of a layer: its directory, which the Index closes, and its records, uncompressed.
func (x *Index) Add(dir *os.File, records io.Reader) error {
	x.layers = append(x.layers, dir)
	if x.files == nil {
		x.files = map[data]place{}
	}
	for up := split.NewJSONUnpacker(records); len(x.files) < maxIndexed; {
		e, err := up.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read records of a layer: %w", err)
		}
		if d, ok := dataOf(e); ok {
			x.files[d] = place{len(x.layers) - 1, e.GetName()}
		}
	}
	return nil
}

// Empty tells that nothing will be found.
func (x *Index) Empty() bool { return len(x.files) == 0 }

// Close closes the directories.
func (x *Index) Close() error {
	var errs []error
	for _, l := range x.layers {
		errs = append(errs, l.Close())
	}
	x.layers, x.files = nil, nil
	return errors.Join(errs...)
}

// open opens a file, which must still have its size.
func (x *Index) open(p place, size int64) (*os.File, error) {
	fd, err := fsys.OpenPlain(int(x.layers[p.layer].Fd()), strings.TrimLeft(path.Clean("/"+p.name), "/"),
		unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: p.name, Err: err}
	}
	f := os.NewFile(uintptr(fd), p.name)
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != size {
		return nil, errors.Join(fmt.Errorf("%s isn't what the records of its layer say", p.name), err, f.Close())
	}
	return f, nil
}
