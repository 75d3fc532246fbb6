package pull

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/cooperbuild/cooper/internal/guard"
)

// report tells opts.Progress how many bytes of size have come for a layer, every progressInterval, until stop is
// called.
func (c *layerCopy) report(l *pendingLayer, size int64, came *atomic.Int64) (stop func(whole bool)) {
	if c.opts.Progress == nil {
		return func(bool) {}
	}
	what := l.desc.Digest.Encoded()[:12]
	if c.opts.Name != "" {
		what = c.opts.Name + " " + what
	}

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
					c.opts.Progress(what, min(came.Load(), size-1), size)
				}
			}
		})
	}()

	return func(whole bool) {
		close(done)
		<-ended
		if whole {
			c.opts.Progress(what, size, size)
		}
	}
}

type countingReader struct {
	io.ReadCloser
	n *atomic.Int64
}

func (r countingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.n.Add(int64(n))
	return n, err
}
