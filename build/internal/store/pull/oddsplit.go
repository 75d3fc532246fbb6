package pull

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	split "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store/unpack"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// oddPacker writes the tar-split records of an odd layer's archive. Contents that no file of the layer's directory has
// stand in the records themselves.
type oddPacker struct {
	split.Packer
	layer *oddLayer
	put   split.FilePutter
	// next counts the members with data. name is the path of the file with the last one's data; empty: it is in the
	// records.
	next int
	name string
}

func newOddPacker(w io.Writer, o *oddLayer) *oddPacker {
	return &oddPacker{Packer: split.NewJSONPacker(w), layer: o, put: split.NewDiscardFilePutter()}
}

// Put implements the storage package's FilePutter.
func (p *oddPacker) Put(name string, data io.Reader) (size int64, checksum []byte, err error) {
	if p.next >= len(p.layer.data) {
		return 0, nil, fmt.Errorf("its archive is read in two ways, at %q", name)
	}
	m := p.layer.members[p.layer.data[p.next]]
	p.next++
	if m != nil && m.kind == oddContent && m.below == "" {
		p.name = strings.TrimPrefix(m.names[0], "/")
		return p.put.Put(name, data)
	}

	p.name = ""
	piece := make([]byte, 256<<10)
	for {
		n, err := io.ReadFull(data, piece)
		if n > 0 {
			if _, err := p.Packer.AddEntry(split.Entry{Type: split.SegmentType, Payload: bytes.Clone(piece[:n])}); err != nil {
				return 0, nil, err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, nil, nil
		}
		if err != nil {
			return 0, nil, err
		}
	}
}

// AddEntry implements the storage package's Packer.
func (p *oddPacker) AddEntry(e split.Entry) (int, error) {
	if e.Type != split.FileType {
		return p.Packer.AddEntry(e)
	}
	if e.Size == 0 || p.name == "" {
		return 0, nil
	}
	file := split.Entry{Type: split.FileType, Size: e.Size, Payload: e.Payload}
	file.SetName(p.name)
	p.name = ""
	return p.Packer.AddEntry(file)
}

// lowerFile is a file of the layers below.
type lowerFile struct {
	header  *tar.Header
	content *os.File
}

func (f lowerFile) close() error {
	if f.content == nil {
		return nil
	}
	return f.content.Close()
}

// openLower opens a file that isn't a directory in the root file system of the layers below. Links on the way to it
// lead nowhere else.
func openLower(root *os.File, name string) (f lowerFile, err error) {
	if root == nil {
		return f, os.ErrNotExist
	}
	dir, base := path.Split(name)
	at, err := fsys.OpenIn(int(root.Fd()), dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, unix.Close(at)) }()

	there := "/proc/self/fd/" + strconv.Itoa(at) + "/" + base
	info, err := os.Lstat(there)
	if err != nil {
		return f, bare(err)
	}

	target := ""
	switch mode := info.Mode(); {
	case mode.IsDir():
		return f, syscall.EISDIR
	case mode.IsRegular():
		if f.content, err = os.OpenFile(there, os.O_RDONLY|unix.O_NOFOLLOW, 0); err != nil {
			return f, bare(err)
		}
		info, err = f.content.Stat()
	case mode&os.ModeSymlink != 0:
		target, err = os.Readlink(there)
	}

	if err == nil {
		f.header, err = tar.FileInfoHeader(info, target)
	}
	if err == nil {
		f.header.Uname, f.header.Gname = "", ""
		err = addAttributes(f.header, there)
	}
	if err != nil {
		return f, errors.Join(bare(err), f.close())
	}

	return f, nil
}

// bare takes the path out of an error, since it is one below /proc/self/fd that means nothing to a reader.
func bare(err error) error {
	if wrong := new(os.PathError); errors.As(err, &wrong) {
		return wrong.Err
	}
	return err
}

// addAttributes adds a file's extended attributes to its header, but for those that belong to the place where it lies.
func addAttributes(h *tar.Header, file string) error {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(file, names)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}

	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		if name == "" || name == "security.selinux" || strings.HasPrefix(name, "trusted.") ||
			strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(file, name, value)
		if err != nil {
			return err
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[unpack.XattrRecord+name] = string(value[:n])
	}

	return nil
}
