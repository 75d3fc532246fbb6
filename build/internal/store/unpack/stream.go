package unpack

import (
	"errors"
	"hash"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/internal/guard"
)

const (
	// pieceSize is how many bytes of an archive go from one goroutine to the next at a time, and pieces how many pieces
	// one archive has in memory.
	pieceSize = 128 << 10
	pieces    = 4
)

// piece is a part of an archive. err, such as io.EOF, comes after data.
type piece struct {
	data []byte
	err  error
}

// stream reads an archive in goroutines of its own: one decompresses, one hashes. It gives io.EOF only when what the
// archive is read from, compressed, has given io.EOF as well.
type stream struct {
	group         errgroup.Group
	hashed, ready chan piece
	free          chan []byte
	// quit is closed when nothing is read any more.
	quit chan struct{}
	hash hash.Hash
	size int64

	buf  []byte // the piece that is being read, to be given back
	rest []byte // what of it is left
	err  error  // what comes after it
}

// newStream starts reading plain, whose compressed bytes come from under. The caller calls close.
func newStream(under, plain io.Reader, h hash.Hash) *stream {
	s := &stream{
		hashed: make(chan piece, pieces), ready: make(chan piece, pieces), free: make(chan []byte, pieces),
		quit: make(chan struct{}), hash: h,
	}
	for range pieces {
		s.free <- nil // made when it is needed: most archives are small
	}
	s.group.Go(guard.Func(func() error {
		defer close(s.hashed)
		return s.handOn(s.hashed, guard.Call(func() error { return s.read(under, plain) }))
	}))
	s.group.Go(guard.Func(func() error {
		defer close(s.ready)
		return s.handOn(s.ready, guard.Call(s.sum))
	}))
	return s
}

// handOn hands on the error, a panic, of a goroutine that has ended.
func (s *stream) handOn(to chan<- piece, err error) error {
	if err != nil {
		select {
		case to <- piece{err: err}:
		case <-s.quit:
		}
	}
	return err
}

// read decompresses. Bytes after the end of the compression belong to the digest of the blob, so they are read.
func (s *stream) read(under, plain io.Reader) error {
	for {
		var buf []byte
		select {
		case buf = <-s.free:
		case <-s.quit:
			return nil
		}
		if buf == nil {
			buf = make([]byte, pieceSize)
		}
		p := next(under, plain, buf)
		select {
		case s.hashed <- p:
		case <-s.quit:
			return nil
		}
		if p.err != nil {
			return nil //nolint:nilerr // the piece has it
		}
	}
}

// next reads a piece.
func next(under, plain io.Reader, buf []byte) piece {
	n, err := fill(plain, buf)
	if errors.Is(err, io.EOF) {
		if _, more := io.Copy(io.Discard, under); more != nil {
			err = more
		}
	}
	return piece{buf[:n], err}
}

// fill reads until buf is full or an error comes, which may come with bytes.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

// sum hashes what was read.
func (s *stream) sum() error {
	for p := range s.hashed {
		_, _ = s.hash.Write(p.data)
		s.size += int64(len(p.data))
		select {
		case s.ready <- p:
		case <-s.quit:
			return nil
		}
	}
	return nil
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		if s.buf != nil {
			s.free <- s.buf[:pieceSize]
		}
		next, ok := <-s.ready
		if !ok {
			next.err = io.ErrUnexpectedEOF // a goroutine has ended without a word
		}
		s.buf, s.rest, s.err = next.data, next.data, next.err
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// close ends the goroutines. What is read from may have to be interrupted for that.
func (s *stream) close() {
	close(s.quit)
	_ = s.group.Wait() // Read has given the error
}
