package registry

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/internal/patience"
)

const (
	// maxWidth is how many connections read one blob at most, and maxSpare how many more than one a blob all of a
	// client's downloads have. Each holds a part in memory.
	maxWidth = 4
	maxSpare = 4
	// partSize is the size in bytes of the parts that a blob is asked for in.
	partSize = 4 << 20
	// minRanged is how many bytes of a blob have to be missing for more connections to be worth their start.
	minRanged = 32 << 20
	// probation is how long one connection is measured before others are opened, and how long these are measured.
	probation = 2 * time.Second
	// fastEnough is a speed, in bytes a second, at which one connection is not what a pull waits for.
	fastEnough = 100 << 20
)

// errNoRanges says that a server that gives parts of blobs has given a whole one.
var errNoRanges = errors.New("the registry gives the whole blob where a part was asked for")

// pacer measures how fast bytes come, and whether who reads them has had to wait for them.
type pacer struct {
	now    func() time.Time
	began  time.Time
	waited time.Duration
	bytes  int64
}

func newPacer(now func() time.Time) pacer { return pacer{now: now, began: now()} }

// note notes n bytes for which the reader began to wait at a time.
func (p *pacer) note(n int, since time.Time) {
	p.waited += p.now().Sub(since)
	p.bytes += int64(n)
}

// rate is the speed in bytes a second. known is false as long as it isn't measured, or where not the network but the
// reader is slow.
func (p *pacer) rate() (rate float64, known bool) {
	all := p.now().Sub(p.began)
	const mostly = 0.5
	if p.waited < probation || p.waited.Seconds() < mostly*all.Seconds() {
		return 0, false
	}
	return float64(p.bytes) / p.waited.Seconds(), true
}

// widening reads a blob over one connection, and over several where that one is slow, the server gives parts, and
// several are measured to be faster. Whatever fails with several is tried with one, which has more patience.
type widening struct {
	*blobReader
	spare *semaphore.Weighted
	speed pacer
	// alone is how fast one connection was, in bytes a second, when others joined it.
	alone float64
	// parts are read if it isn't nil; narrow says that they were and will not be again.
	parts  *parts
	narrow bool
}

func newWidening(b *blobReader, spare *semaphore.Weighted) *widening {
	return &widening{blobReader: b, spare: spare, speed: newPacer(b.pace.Now)}
}

// Read implements io.Reader.
func (w *widening) Read(p []byte) (int, error) {
	if w.parts == nil {
		w.widen()
	}
	start := w.speed.now()
	if w.parts == nil {
		n, err := w.blobReader.Read(p)
		w.speed.note(n, start)
		return n, err
	}
	n, err := w.parts.read(p)
	w.offset += int64(n)
	w.speed.note(int(w.parts.came.Swap(0)), start) // what is read has come some time ago, and more has come since
	if errors.Is(err, io.EOF) || w.ctx.Err() != nil {
		return n, err
	}
	rate, known := w.speed.rate()
	if known {
		w.speed = newPacer(w.speed.now)
	}
	const better = 1.2
	if last := w.parts.next == w.end; err != nil || known && !last && rate < better*w.alone {
		w.narrow = true
		w.endParts()
	}
	return n, nil
}

// widen opens more connections, if that may help.
func (w *widening) widen() {
	if w.narrow || !w.ranges || w.end-w.offset < minRanged {
		return
	}
	rate, known := w.speed.rate()
	if !known {
		return
	}
	w.speed = newPacer(w.speed.now)
	if rate >= fastEnough {
		return
	}
	width := 1
	for width < maxWidth && w.spare.TryAcquire(1) {
		width++
	}
	if width == 1 {
		return
	}
	w.alone = rate
	_ = w.blobReader.Close() // what it would have given is asked for again
	w.parts = newParts(w.blobReader, width)
}

// endParts goes back to one connection.
func (w *widening) endParts() {
	if w.parts != nil {
		w.parts.close()
		w.spare.Release(int64(w.parts.width - 1))
		w.parts = nil
	}
}

// Close ends all connections.
func (w *widening) Close() error {
	w.endParts()
	return w.blobReader.Close()
}

// part is a part of a blob that is being fetched. text and err are set when done is closed.
type part struct {
	text []byte
	err  error
	done chan struct{}
}

// parts read a blob from an offset to its end: several parts are fetched at the same time, and given in order.
type parts struct {
	of    *blobReader
	width int
	ctx   context.Context //nolint:containedctx // it lives as long as the parts are read
	stop  context.CancelFunc
	group errgroup.Group
	next  int64
	// came is how many bytes have come since somebody last asked.
	came atomic.Int64
	// under are the parts that are fetched, or not yet read, in order; rest is what is left of the one that is read.
	under []*part
	rest  []byte
}

func newParts(of *blobReader, width int) *parts {
	p := &parts{of: of, width: width, next: of.offset}
	p.ctx, p.stop = context.WithCancel(of.ctx)
	return p
}

// start fetches as many parts as there are connections.
func (p *parts) start() {
	for len(p.under) < p.width && p.next < p.of.end {
		one := &part{done: make(chan struct{})}
		b := *p.of
		b.ctx, b.body, b.part = p.ctx, nil, true
		b.offset, b.end = p.next, min(p.next+partSize, p.of.end)
		b.failed, b.resumed, b.meter = 0, 0, patience.NewMeter(p.of.pace.Limits)
		p.next = b.end
		p.under = append(p.under, one)
		p.group.Go(guard.Func(func() error {
			defer close(one.done)
			one.err = guard.Call(func() (err error) {
				one.text, err = p.fetch(&b)
				return err
			})
			return nil
		}))
	}
}

// fetch reads a part.
func (p *parts) fetch(b *blobReader) (text []byte, err error) {
	text = make([]byte, b.end-b.offset)
	for at := 0; at < len(text) && err == nil; {
		var n int
		n, err = b.Read(text[at:])
		p.came.Add(int64(n))
		at += n
	}
	return text, errors.Join(err, b.Close())
}

// read gives the next bytes. After an error the rest has to be read in another way.
func (p *parts) read(to []byte) (int, error) {
	if len(p.rest) == 0 {
		p.start()
		if len(p.under) == 0 {
			return 0, io.EOF
		}
		one := p.under[0]
		select {
		case <-one.done:
		case <-p.ctx.Done():
			return 0, context.Cause(p.ctx)
		}
		if one.err != nil {
			return 0, one.err
		}
		p.under, p.rest = p.under[1:], one.text
	}
	n := copy(to, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// close ends what is being fetched.
func (p *parts) close() {
	p.stop()
	_ = p.group.Wait() // the parts have their errors
}
