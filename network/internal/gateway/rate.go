package gateway

import (
	"context"
	"io"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// burst is how many bytes may be handed on at once where a rate is kept: a tenth of a second's, and a packet in any
// case.
func burst(bytes int64) int { return int(min(max(bytes/10, maxDatagram), handful)) }

func newLimiter(bytes int64) *rate.Limiter { return rate.NewLimiter(rate.Limit(bytes), burst(bytes)) }

// counted is a writer that adds what is written to a count, and waits before that where a limit is set.
type counted struct {
	io.Writer
	ctx   context.Context //nolint:containedctx // Write has no other: it ends with the step
	count *atomic.Int64
	limit *rate.Limiter
}

// Write writes all of p, or as much as there was before an error.
func (c counted) Write(p []byte) (written int, err error) {
	for len(p) > 0 && err == nil {
		part := p
		if c.limit != nil {
			part = p[:min(len(p), c.limit.Burst())]
			if err := c.limit.WaitN(c.ctx, len(part)); err != nil {
				return written, err
			}
		}
		var n int
		n, err = c.Writer.Write(part)
		c.count.Add(int64(n))
		written, p = written+n, p[n:]
	}
	return written, err
}
