package registry

import (
	"context"
	"io"
	"net/http"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/cooperbuild/cooper/build/registry/internal/wire"
	"github.com/cooperbuild/cooper/internal/patience"
)

// Hurry makes a client impatient, for tests that must fail soon.
func (c *Client) Hurry(first, stall time.Duration) {
	limits := patience.Usual()
	limits.Stall = stall
	c.pace = wire.Pace{First: first, Limits: limits, Now: time.Now, Commit: 5 * stall}
}

// AnswerWithin has the registry answer soon after the last byte of a blob.
func (d *Destination) AnswerWithin(limit time.Duration) { d.pace.Commit = limit }

// Limit gives a client limits of a test's own, and a clock.
func (c *Client) Limit(l patience.Limits, now func() time.Time) { c.pace.Limits, c.pace.Now = l, now }

// ReadWidening reads a blob over as many connections as help; get gives what a server would.
func ReadWidening(ctx context.Context, d ocispec.Descriptor, now func() time.Time,
	get func(ctx context.Context, header http.Header) (*http.Response, error)) (io.ReadCloser, error) {
	limits := patience.Limits{Stall: time.Hour, Idle: time.Hour, Window: 1000 * time.Hour}
	b := &blobReader{ctx: ctx, host: "registry.test", get: get, pace: wire.Pace{First: time.Millisecond, Limits: limits,
		Now: now}, want: d, end: d.Size, meter: patience.NewMeter(limits)}
	return newWidening(b, semaphore.NewWeighted(maxSpare)), b.open()
}
