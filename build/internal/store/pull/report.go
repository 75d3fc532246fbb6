package pull

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/cooperbuild/cooper/internal/guard"
)

// report tells opts.Progress how much of a layer is read, every progressInterval, until stop is called.
func (c *layerCopy) report(l *pendingLayer, r *io.Reader) (stop func(whole bool)) {
	if c.opts.Progress == nil {
		return func(bool) {}
	}
	what := l.desc.Digest.Encoded()[:12]
	if c.opts.Name != "" {
		what = c.opts.Name + " " + what
	}

	counter := &countingReader{from: *r}
	*r = counter
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = guard.Call(func() error { // a panic costs only the progress that isn't shown
			ticker := time.NewTicker(progressInterval)
			defer ticker.Stop()
			for {
				select {
				case <-done:
					return nil
				case <-ticker.C:
					c.opts.Progress(what, min(counter.n.Load(), l.desc.Size-1), l.desc.Size)
				}
			}
		})
	}()

	return func(whole bool) {
		close(done)
		<-ended
		if whole {
			c.opts.Progress(what, l.desc.Size, l.desc.Size)
		}
	}
}

type countingReader struct {
	from io.Reader
	n    atomic.Int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.n.Add(int64(n))
	return n, err
}
