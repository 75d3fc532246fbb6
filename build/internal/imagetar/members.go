package imagetar

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/cooperbuild/cooper/internal/decompress"
	"github.com/cooperbuild/cooper/internal/printable"
)

// What an archive may have at most; sizes are in bytes.
const (
	maxMembers = 100_000
	// maxText is for each text that is read whole: an index, a list of images.
	maxText = 4 << 20
	maxName = 4096
	maxHops = 10
	// A compressed archive may grow to freeSize, and beyond that to maxRatio times of what it is compressed.
	freeSize = 1 << 30
	maxRatio = 200
)

// errNoMember says that an archive has no member of a name.
var errNoMember = errors.New("the archive has no such file")

// member is a file in an archive: where its content begins, and its length in bytes. A link has the name that it leads
// to instead.
type member struct {
	offset, size int64
	link         string
}

// plain gives the archive without its compression as a file that can be read at any place: the file itself, or one that
// spool makes.
func plain(ctx context.Context, from *os.File, spool func() (*os.File, error)) (_ *os.File, err error) {
	// A file that isn't compressed is read where it lies.
	head := make([]byte, 16)
	if info, err := from.Stat(); err == nil && info.Mode().IsRegular() {
		at, err := from.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		n, err := from.ReadAt(head, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if at == 0 && decompress.Recognize(head[:n]) == decompress.None {
			return from, nil
		}
	}
	to, err := spool()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, to.Close())
		}
	}()
	packed := &counted{Reader: waiting{from, ctx}, ctx: ctx}
	stream, err := decompress.New(packed)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	if _, err := io.Copy(&bounded{to: to, from: packed}, stream); err != nil {
		return nil, err
	}
	_, err = to.Seek(0, io.SeekStart)
	return to, err
}

// counted counts what is read, and ends with its context.
type counted struct {
	io.Reader
	ctx context.Context //nolint:containedctx // a reader has no other way to be told
	n   int64
}

func (c *counted) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// bounded refuses to write what is too much for its origin.
type bounded struct {
	to   io.Writer
	from *counted
	n    int64
}

func (b *bounded) Write(p []byte) (int, error) {
	b.n += int64(len(p))
	if b.n > freeSize && b.n/maxRatio > b.from.n {
		return 0, fmt.Errorf("it grows to more than %d times of its size", maxRatio)
	}
	return b.to.Write(p)
}

// scan finds the members of an archive. The first of several with the same name counts.
func scan(ctx context.Context, f *os.File) (map[string]member, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	all := map[string]member{}
	r := tar.NewReader(f)
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the archive: %w", err)
		}
		if n == maxMembers {
			return nil, fmt.Errorf("the archive has more than %d files", maxMembers)
		}
		m, counts, err := memberOf(h)
		if err != nil {
			return nil, err
		}
		if m.offset, err = f.Seek(0, io.SeekCurrent); err != nil {
			return nil, err
		}
		if m.offset+m.size > info.Size() {
			return nil, fmt.Errorf("the archive ends within %s", printable.Clip(h.Name))
		}
		name := cleaned(h.Name)
		if _, there := all[name]; counts && !there {
			all[name] = m
		}
	}
}

// memberOf is what a header says; it counts unless it is a directory.
func memberOf(h *tar.Header) (m member, counts bool, err error) {
	if len(h.Name) > maxName || len(h.Linkname) > maxName {
		return m, false, fmt.Errorf("%s has a name of more than %d bytes", printable.Clip(h.Name), maxName)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		for key := range h.PAXRecords {
			if strings.HasPrefix(key, "GNU.sparse.") {
				return m, false, fmt.Errorf("%s is a sparse file, which no tool writes there", printable.Clip(h.Name))
			}
		}
		return member{size: h.Size}, true, nil
	case tar.TypeDir:
		return m, false, nil
	case tar.TypeLink:
		return member{link: cleaned(h.Linkname)}, true, nil
	case tar.TypeSymlink:
		// docker before version 25 writes layers that several images have as links to each other.
		to := path.Join(path.Dir(cleaned(h.Name)), h.Linkname) //nolint:gosec // it is no path but a key
		if path.IsAbs(h.Linkname) || to == ".." || strings.HasPrefix(to, "../") {
			return m, false, fmt.Errorf("%s is a link that leads out of the archive, to %s", printable.Clip(h.Name),
				printable.Clip(h.Linkname))
		}
		return member{link: to}, true, nil
	}
	return m, false, fmt.Errorf("%s is neither a file nor a directory", printable.Clip(h.Name))
}

// cleaned is a name as other members refer to it.
func cleaned(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// find gives the member of a name, or the one that it leads to.
func find(all map[string]member, name string) (member, error) {
	for range maxHops {
		m, there := all[cleaned(name)]
		if !there {
			return m, fmt.Errorf("%s: %w", printable.Clip(name), errNoMember)
		}
		if m.link == "" {
			return m, nil
		}
		name = m.link
	}
	return member{}, fmt.Errorf("%s leads through too many links", printable.Clip(name))
}
