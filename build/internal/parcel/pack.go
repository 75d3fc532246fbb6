package parcel

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Options say what is packed.
type Options struct {
	// Dir is the path of the directory.
	Dir string
	// Owners are those of package layer: the owners on disk as the container sees them; nil: they are the same.
	Owners func(uid, gid uint32) (containerUID, containerGID uint32, err error)
	// Secrets are values of which no file that is packed has one in it.
	Secrets [][]byte
	// Spool makes an empty file without a name.
	Spool func() (*os.File, error)
	// Old is the parcel of this directory that the place has, From gives its blobs, and Holds tells whether it still has
	// one; nil: it has none.
	Old   *Parcel
	From  content.Fetcher
	Holds func(ctx context.Context, d ocispec.Descriptor) (bool, error)
}

// Packed is a directory that was read: the blobs that the place lacks are in a file. The caller calls Close.
type Packed struct {
	Parcel
	// Left says what was left out.
	Left  Left
	spool *os.File
	fresh []section
}

// section is a blob in the file.
type section struct {
	ocispec.Descriptor
	at int64
}

// Close removes the file.
func (p *Packed) Close() error { return p.spool.Close() }

// Send brings the blobs that the place lacks there, the listing last.
func (p *Packed) Send(ctx context.Context,
	put func(ctx context.Context, d ocispec.Descriptor, from io.ReaderAt) error) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(maxSends)
	last := len(p.fresh) - 1
	for _, s := range p.fresh[:last] {
		group.Go(guard.Func(func() error {
			return put(inner, s.Descriptor, io.NewSectionReader(p.spool, s.at, s.Size))
		}))
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s := p.fresh[last]
	return put(ctx, s.Descriptor, io.NewSectionReader(p.spool, s.at, s.Size))
}

// maxSends is how many packs are sent, fetched or asked for at once.
const maxSends = 8

// Pack reads a directory. Nothing may write to it meanwhile.
func Pack(ctx context.Context, o Options) (*Packed, error) {
	p, wasted, err := packOnce(ctx, o)
	if err == nil && wasted {
		if err = p.Close(); err == nil {
			o.Old = nil
			p, _, err = packOnce(ctx, o)
		}
	}
	return p, err
}

// packer makes one parcel.
type packer struct {
	Options
	out     *Packed
	head    head
	known   map[sum]chunk
	cutter  *cutter
	encoder *zstd.Encoder
	// raw is the content of the pack that is being filled; its number is the one after the last of head.Packs.
	raw []byte
	end int64
	// live is how many bytes of old packs are used.
	live int64
}

// packOnce reads a directory; wasted tells that most of the old packs that are used again is of no use any more.
func packOnce(ctx context.Context, o Options) (out *Packed, wasted bool, err error) {
	p := &packer{Options: o, out: &Packed{Parcel: Parcel{Blobs: make([]ocispec.Descriptor, 1)}}, known: map[sum]chunk{},
		cutter: newCutter(), head: head{Version: version, Packs: []int64{}, Chunks: []chunk{}}}
	if p.out.spool, err = o.Spool(); err != nil {
		return nil, false, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.out.Close())
		}
	}()
	if p.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window)); err != nil {
		return nil, false, err
	}
	if err := p.know(ctx); err != nil {
		return nil, false, err
	}
	split, err := o.Spool()
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, split.Close()) }()
	old := int64(0)
	for _, size := range p.head.Packs {
		old += size
	}
	if err := p.read(ctx, split); err != nil {
		return nil, false, err
	}
	return p.out, old > 0 && p.live < old/2, errors.Join(p.flush(), p.list(split))
}

// know notes the chunks of the old parcel whose packs the place still has. A parcel that can't be read has none.
func (p *packer) know(ctx context.Context) error {
	if p.Old == nil {
		return nil
	}
	l, err := openListing(ctx, p.From, *p.Old)
	if err == nil {
		defer l.close()
		_, err = io.Copy(io.Discard, l) // to its end, where its digest is looked at
	}
	if err != nil {
		return context.Cause(ctx)
	}
	packs := p.Old.Blobs[1:]
	there := make([]bool, len(packs))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(maxSends)
	for i, d := range packs {
		group.Go(guard.Func(func() (err error) {
			there[i], err = p.Holds(inner, d)
			return err
		}))
	}
	if err := group.Wait(); err != nil {
		return err
	}
	numbers := make([]int, len(packs))
	for i, d := range packs {
		if there[i] {
			numbers[i] = len(p.head.Packs)
			p.head.Packs = append(p.head.Packs, l.Packs[i])
			p.out.Blobs = append(p.out.Blobs, d)
		}
	}
	for _, c := range l.Chunks {
		if there[c.Pack] {
			c.Pack = numbers[c.Pack]
			p.known[c.Sum] = c
		}
	}
	return nil
}

// read reads the directory: the bodies of files to chunks, all else to split.
func (p *packer) read(ctx context.Context, split io.Writer) error {
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // it was only read
	pipe, archive := io.Pipe()
	var res layer.Result
	group, inner := errgroup.WithContext(ctx)
	group.Go(guard.Func(func() (err error) {
		defer func() { _ = archive.CloseWithError(err) }() // it never fails
		res, err = layer.Read(inner, p.Dir, layer.Options{TarSplit: split, Tar: archive, Owners: p.Owners,
			ParentRoot: &layer.RootAttr{}, Skip: skipper{root, p.Secrets, &p.out.Left}.skips})
		return err
	}))
	group.Go(guard.Func(func() (err error) {
		defer func() { _ = pipe.CloseWithError(err) }() // it never fails
		from := tar.NewReader(pipe)
		for {
			if _, err := from.Next(); errors.Is(err, io.EOF) {
				_, err = io.Copy(io.Discard, pipe)
				return err
			} else if err != nil {
				return err
			}
			if err := p.cutter.cut(from, p.add); err != nil {
				return err
			}
		}
	}))
	if err := group.Wait(); err != nil {
		return fmt.Errorf("read the cache mount: %w", err)
	}
	p.head.DiffID, p.out.Size = res.DiffID, res.Size
	return nil
}

// add adds a chunk.
func (p *packer) add(data []byte) error {
	id := sum(sha256.Sum256(data))
	if c, ok := p.known[id]; ok && c.Size == int64(len(data)) {
		p.head.Chunks = append(p.head.Chunks, c)
		p.live += c.Size
		return nil
	}
	c := chunk{Pack: len(p.head.Packs), At: int64(len(p.raw)), Size: int64(len(data)), Sum: id}
	p.raw = append(p.raw, data...)
	p.known[id] = c
	p.head.Chunks = append(p.head.Chunks, c)
	if len(p.raw) < packSize {
		return nil
	}
	return p.flush()
}

// flush makes a pack of the chunks that came since the last.
func (p *packer) flush() error {
	if len(p.raw) == 0 {
		return nil
	}
	d, err := p.write(PackType, p.encoder.EncodeAll(p.raw, nil))
	if err != nil {
		return err
	}
	p.out.Blobs = append(p.out.Blobs, d)
	p.head.Packs = append(p.head.Packs, int64(len(p.raw)))
	p.raw = p.raw[:0]
	return nil
}

// write adds a blob to the file.
func (p *packer) write(mediaType string, text []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	_, err := p.out.spool.WriteAt(text, p.end)
	p.out.fresh = append(p.out.fresh, section{d, p.end})
	p.end += d.Size
	return d, err
}

// list makes the listing.
func (p *packer) list(split *os.File) error {
	if len(p.head.Packs) >= maxPacks {
		return fmt.Errorf("the cache mount is too large: it takes %d packs, %d is the limit", len(p.head.Packs), maxPacks)
	}
	var all bytes.Buffer
	to, err := zstd.NewWriter(&all, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		return err
	}
	err = json.NewEncoder(to).Encode(p.head)
	if err == nil {
		_, err = split.Seek(0, io.SeekStart)
	}
	if err == nil {
		_, err = io.Copy(to, split)
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	if all.Len() > maxListing {
		return fmt.Errorf("the cache mount has too many files: its listing takes %d bytes", all.Len())
	}
	p.out.Blobs[0], err = p.write(ListingType, all.Bytes())
	return err
}
