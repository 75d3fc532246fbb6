package partial

import (
	"context"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/internal/guard"
)

const (
	// pieceSize is how many bytes one request asks for at most, and width how many requests are under way.
	pieceSize = 512 << 10
	width     = 4
)

// piece is what one request asks for. text and err are set when done is closed.
type piece struct {
	span
	text []byte
	err  error
	done chan struct{}
}

// spans reads parts of a blob, in order, some ahead of their reader.
type spans struct {
	fetch func(span) ([]byte, error)
	stop  context.CancelFunc
	ended <-chan struct{}
	group errgroup.Group
	left  []span
	under []*piece
	// at is the offset in the blob of the next byte, of which rest is there.
	at   int64
	rest []byte
}

func newSpans(ctx context.Context, src Source, d ocispec.Descriptor, all []span) *spans {
	ctx, stop := context.WithCancel(ctx)
	return &spans{left: all, stop: stop, ended: ctx.Done(),
		fetch: func(s span) ([]byte, error) { return fetch(ctx, src, d, s) }}
}

// start asks for pieces ahead.
func (s *spans) start() {
	for len(s.under) < width && len(s.left) > 0 {
		one := &piece{span: span{s.left[0].from, min(s.left[0].to, s.left[0].from+pieceSize)}, done: make(chan struct{})}
		if s.left[0].from = one.to; s.left[0].length() == 0 {
			s.left = s.left[1:]
		}
		s.under = append(s.under, one)
		s.group.Go(guard.Func(func() error {
			defer close(one.done)
			one.err = guard.Call(func() (err error) {
				one.text, err = s.fetch(one.span)
				return err
			})
			return nil
		}))
	}
}

// Read gives the next bytes.
func (s *spans) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		s.start()
		if len(s.under) == 0 {
			return 0, io.EOF
		}
		one := s.under[0]
		select {
		case <-one.done:
		case <-s.ended:
			return 0, context.Canceled
		}
		if one.err != nil {
			return 0, one.err
		}
		s.under, s.rest, s.at = s.under[1:], one.text, one.from
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	s.at += int64(n)
	return n, nil
}

// section reads one part of those that were asked for, which come in order.
func (s *spans) section(part span) (io.Reader, error) {
	for len(s.rest) == 0 || s.at < part.from {
		if len(s.rest) > 0 {
			n := min(int64(len(s.rest)), part.from-s.at)
			s.rest, s.at = s.rest[n:], s.at+n
			continue
		}
		if _, err := s.Read(nil); err != nil {
			return nil, err
		}
	}
	if s.at != part.from {
		return nil, io.ErrUnexpectedEOF
	}
	return io.LimitReader(s, part.length()), nil
}

// wait waits for what is being fetched.
func (s *spans) wait() {
	_ = s.group.Wait() // the pieces have their errors
}
