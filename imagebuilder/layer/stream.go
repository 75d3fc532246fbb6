package layer

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cooperbuild/cooper/internal/guard"
)

const (
	// chunkSize is how many bytes of the stream are handed to the sinks at a time: so many that the hand-over costs
	// little beside the work on them, so few that the sinks find them in the processor's cache.
	chunkSize = 256<<10 - blockSize
	// maxChunks is how many chunks of a stream there are: 2 MiB in all.
	maxChunks = 8
	// maxHole is how many bytes of holes a chunk may have besides the bytes in its buffer. It is a few milliseconds' work:
	// sinks notice only between chunks that they shall stop.
	maxHole = 8 << 20
	// holePiece is how many zeros of a hole are handed to a hash or writer at a time.
	holePiece = 32 << 10
)

// A chunk is a piece of the stream, cut at any place; its ops say what its bytes are.
type chunk struct {
	buf  []byte
	meta []byte // canonical encodings of entries, one after the other; each opEntry has the length of its own
	ops  []op
	hole int          // bytes of the opHole parts, which aren't in buf
	refs atomic.Int32 // how many sinks still have to consume the chunk
}

type opKind uint8

const (
	opFrame opKind = iota // n bytes of the stream: headers, padding, trailer
	opData                // n bytes of the stream: content of the latest entry
	opHole                // n zeros of the stream, which are not in buf: content of the latest entry
	opEntry               // no bytes: the header of an entry is complete
)

// An op describes one part of a chunk; the parts are in the order of the stream.
type op struct {
	kind opKind
	n    int        // length of the part in bytes; of an opEntry its length in meta
	name int        // opEntry: length of the entry's name in bytes; in meta it follows a length field of four bytes
	size int64      // opEntry: length in bytes of the entry's data, which follows
	file *largeFile // opEntry: the entry's own
}

// A sink takes the chunks of a stream in order. It doesn't keep or change them.
type sink interface {
	consume(c *chunk) error
	finish() error // after the last chunk
}

// A stream takes entries and data from one goroutine and feeds every byte to all sinks, each in its own goroutine once
// there is more than one chunk.
type stream struct {
	sinks  []sink
	queues []chan *chunk // one for each sink; nil until the first chunk is handed over
	free   chan *chunk   // chunks that all sinks have consumed
	cur    *chunk        // the chunk that entries and data are added to
	made   int           // how many chunks exist, at most maxChunks
	head   headerWriter
	zeros  [2 * blockSize]byte // the source of padding and trailer
	wait   sync.WaitGroup
	cancel context.CancelCauseFunc // ends the stream's context; the first sink that fails calls it with its error
	moved  func(bytes int64)       // called with the length of each chunk that is handed over; may be nil
}

// newStream returns a stream and the context to use with it, which ends with the first error of a sink. Whatever
// happens, the caller ends with close.
func newStream(ctx context.Context, sinks ...sink) (*stream, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stream{sinks: sinks, free: make(chan *chunk, maxChunks), cancel: cancel}
	s.cur = s.newChunk()
	return s, ctx
}

func (s *stream) newChunk() *chunk {
	s.made++
	// The buffer is larger than chunkSize, so that reading the last piece of a file can find a byte too many.
	return &chunk{buf: make([]byte, 0, chunkSize+blockSize)}
}

// begin adds the header of an entry. If its size isn't 0, the data follows in calls of reserve and commit, then end.
func (s *stream) begin(ctx context.Context, e *entry) error {
	head, err := s.head.encode(e)
	if err != nil {
		return err
	}
	if err := s.frame(ctx, head); err != nil {
		return err
	}
	c := s.cur
	start := len(c.meta)
	c.meta = appendCanonical(c.meta, e)
	c.ops = append(c.ops, op{kind: opEntry, n: len(c.meta) - start, name: len(e.name), size: e.size, file: e.file})
	return nil
}

// end pads the data of an entry to a full block.
func (s *stream) end(ctx context.Context, size int64) error {
	return s.frame(ctx, s.zeros[:padding(size)])
}

func (s *stream) frame(ctx context.Context, b []byte) error {
	for len(b) > 0 {
		room, err := s.room(ctx)
		if err != nil {
			return err
		}
		n := min(room, len(b))
		s.cur.buf = append(s.cur.buf, b[:n]...)
		s.cur.add(opFrame, n)
		b = b[n:]
	}
	return nil
}

// reserve returns a buffer for up to n bytes of data, at least one. It is one byte longer than that: a caller that
// reads into that byte has found the end of the file moved, and must not commit it.
func (s *stream) reserve(ctx context.Context, n int64) ([]byte, error) {
	room, err := s.room(ctx)
	if err != nil {
		return nil, err
	}
	used := len(s.cur.buf)
	return s.cur.buf[used : used+int(min(int64(room), n))+1], nil
}

// commit adds the first n bytes of the buffer that reserve returned to the stream.
func (s *stream) commit(n int) {
	s.cur.buf = s.cur.buf[:len(s.cur.buf)+n]
	s.cur.add(opData, n)
}

// hole adds n zeros of data.
func (s *stream) hole(ctx context.Context, n int64) error {
	for n > 0 {
		if _, err := s.room(ctx); err != nil {
			return err
		}
		part := int(min(n, int64(maxHole-s.cur.hole)))
		s.cur.add(opHole, part)
		s.cur.hole += part
		n -= int64(part)
	}
	return nil
}

// pieces calls f with all bytes of a chunk in the order of the stream, including the zeros of holes.
func (c *chunk) pieces(f func(p []byte) error) error {
	if c.hole == 0 {
		return f(c.buf)
	}
	zeros := make([]byte, holePiece)
	buf, n := c.buf, 0
	for _, o := range c.ops {
		switch o.kind {
		case opFrame, opData:
			n += o.n
		case opHole:
			if err := f(buf[:n]); err != nil {
				return err
			}
			buf, n = buf[n:], 0
			for left := o.n; left > 0; left -= holePiece {
				if err := f(zeros[:min(left, holePiece)]); err != nil {
					return err
				}
			}
		}
	}
	return f(buf)
}

// add adds a part of n bytes to ops, or makes the last part n bytes longer if it is of the same kind.
func (c *chunk) add(kind opKind, n int) {
	if last := len(c.ops) - 1; last >= 0 && c.ops[last].kind == kind {
		c.ops[last].n += n
		return
	}
	c.ops = append(c.ops, op{kind: kind, n: n})
}

// room hands the current chunk over if it is full, and returns how many more bytes the current chunk can take.
func (s *stream) room(ctx context.Context) (int, error) {
	if room := chunkSize - len(s.cur.buf); room > 0 && s.cur.hole < maxHole {
		return room, nil
	}
	s.handOver()
	select {
	case s.cur = <-s.free:
	default:
		if s.made < maxChunks {
			s.cur = s.newChunk()
			break
		}
		select {
		case s.cur = <-s.free:
		case <-ctx.Done():
		}
	}
	// A sink that failed keeps emptying its queue, so only the context tells of its error.
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	return chunkSize, nil
}

// handOver gives the current chunk to every sink.
func (s *stream) handOver() {
	if s.queues == nil {
		s.start()
	}
	if s.moved != nil {
		s.moved(int64(len(s.cur.buf)) + int64(s.cur.hole))
	}
	s.cur.refs.Store(int32(len(s.queues)))
	for _, q := range s.queues {
		q <- s.cur // never blocks: the queue has room for maxChunks
	}
	s.cur = nil
}

func (s *stream) start() {
	for _, k := range s.sinks {
		q := make(chan *chunk, maxChunks)
		s.queues = append(s.queues, q)
		s.wait.Go(func() { s.run(k, q) })
	}
}

func (s *stream) run(k sink, q <-chan *chunk) {
	var err error
	for c := range q {
		if err == nil {
			if err = guard.Call(func() error { return k.consume(c) }); err != nil {
				s.cancel(err)
			}
		}
		if c.refs.Add(-1) == 0 {
			c.buf, c.meta, c.ops, c.hole = c.buf[:0], c.meta[:0], c.ops[:0], 0
			s.free <- c // never blocks: free has room for maxChunks
		}
	}
}

// finish adds the trailer and returns when all sinks have everything.
func (s *stream) finish(ctx context.Context) error {
	if err := s.frame(ctx, s.zeros[:]); err != nil {
		return err
	}
	if s.queues == nil {
		// All entries are in one chunk: the sinks consume it here, without goroutines.
		for _, k := range s.sinks {
			if err := k.consume(s.cur); err != nil {
				return err
			}
		}
	} else {
		s.handOver()
		s.drain()
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	for _, k := range s.sinks {
		if err := k.finish(); err != nil {
			return fmt.Errorf("finish layer: %w", err)
		}
	}
	return nil
}

// drain waits until the sinks have taken all chunks.
func (s *stream) drain() {
	for _, q := range s.queues {
		close(q)
	}
	s.queues = nil
	s.wait.Wait()
}

// close stops the sinks and waits for them; it may follow finish.
func (s *stream) close() {
	s.drain()
	s.cancel(nil)
}
