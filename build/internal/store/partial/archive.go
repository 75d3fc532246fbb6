package partial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	split "github.com/vbatts/tar-split/tar/storage"

	"github.com/cooperbuild/cooper/internal/guard"
)

const (
	// maxGap is how many bytes of a blob that nobody needs are fetched rather than asked around.
	maxGap = 32 << 10
	// A blob of which more than wholeFrom hundredths is missing is fetched whole.
	wholeFrom = 75
)

// Archive is the archive of a layer, uncompressed. Its reader checks its digest, and closes it.
type Archive struct {
	*io.PipeReader
	// Fetched is how many bytes of the blob are fetched for it.
	Fetched int64

	files   []archived
	records []byte
	index   *Index
	blob    *spans
	written chan struct{}
}

// archived is the data of a file: of a layer's file, or of the blob.
type archived struct {
	size  int64
	local *place
	in    span
}

// Open begins to make the archive of the layer whose blob d describes. The error is ErrWhole where that has no table,
// or little is gained.
func Open(ctx context.Context, src Source, d ocispec.Descriptor, index *Index) (*Archive, error) {
	t, err := readTable(ctx, src, d)
	if err != nil {
		return nil, err
	}
	a := &Archive{records: t.records, index: index, written: make(chan struct{})}
	needed, err := a.plan(t.files)
	if err != nil {
		return nil, err
	}
	for _, s := range append(needed, t.at) {
		a.Fetched += s.length()
	}
	if a.Fetched > d.Size/100*wholeFrom {
		return nil, ErrWhole
	}
	a.blob = newSpans(ctx, src, d, needed)
	pr, pw := io.Pipe()
	a.PipeReader = pr
	go func() {
		defer close(a.written)
		_ = pw.CloseWithError(guard.Call(func() error { return a.write(pw) }))
	}()
	return a, nil
}

// Close ends what is being fetched.
func (a *Archive) Close() error {
	err := a.PipeReader.Close()
	a.blob.stop()
	<-a.written
	a.blob.wait()
	return err
}

// each calls f with each entry of the records.
func (a *Archive) each(f func(*split.Entry) error) error {
	z, err := decoder(bytes.NewReader(a.records))
	if err != nil {
		return err
	}
	defer z.Close()
	from := &frugal{from: z}
	for up := split.NewJSONUnpacker(from); ; {
		from.next()
		e, err := up.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = f(e)
		}
		if err != nil {
			return fmt.Errorf("read records of a blob: %w", err)
		}
	}
}

var errTable = errors.New("the table and the records of the blob don't agree")

// plan finds out where the data of each file comes from, and gives the parts of the blob that are needed, in order.
func (a *Archive) plan(files []blobFile) (needed []span, err error) {
	err = a.each(func(e *split.Entry) error {
		if e.Type != split.FileType || e.Size == 0 {
			return nil
		}
		n := len(a.files)
		if n == len(files) || files[n].size != e.Size || files[n].name != e.GetName() {
			return errTable
		}
		f := archived{size: e.Size, in: files[n].span}
		if d, ok := dataOf(e); ok {
			if p, ok := a.index.files[d]; ok {
				f.local = &p
			}
		}
		a.files = append(a.files, f)
		if f.local != nil {
			return nil
		}
		if last := len(needed) - 1; last >= 0 && f.in.from-needed[last].to <= maxGap {
			needed[last].to = f.in.to
		} else {
			needed = append(needed, f.in)
		}
		return nil
	})
	return needed, err
}

// write writes the archive.
func (a *Archive) write(w io.Writer) error {
	z, err := decoder(nil)
	if err != nil {
		return err
	}
	defer z.Close()
	n := 0
	return a.each(func(e *split.Entry) error {
		switch {
		case e.Type == split.SegmentType:
			_, err := w.Write(e.Payload)
			return err
		case e.Type != split.FileType || e.Size == 0:
			return nil
		}
		f := a.files[n]
		n++
		var err error
		if f.local != nil {
			err = a.copyLocal(w, f)
		} else {
			err = a.unpack(w, f, z)
		}
		if errors.Is(err, io.EOF) { // the data was shorter
			err = io.ErrUnexpectedEOF
		}
		return err
	})
}

func (a *Archive) copyLocal(w io.Writer, f archived) error {
	from, err := a.index.open(*f.local, f.size)
	if err != nil {
		return err
	}
	_, err = io.CopyN(w, from, f.size)
	return errors.Join(err, from.Close())
}

// unpack decompresses what the blob has of a file.
func (a *Archive) unpack(w io.Writer, f archived, z *zstd.Decoder) error {
	in, err := a.blob.section(f.in)
	if err != nil {
		return err
	}
	if err := z.Reset(in); err != nil {
		return err
	}
	_, err = io.CopyN(w, z, f.size)
	return err
}
