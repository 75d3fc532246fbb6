package registry

import (
	"time"

	"github.com/cooperbuild/cooper/build/internal/patience"
	"github.com/cooperbuild/cooper/build/registry/internal/wire"
)

// Hurry makes a client impatient, for tests that must fail soon.
func (c *Client) Hurry(first, stall time.Duration) {
	limits := patience.Usual()
	limits.Stall = stall
	c.pace = wire.Pace{First: first, Limits: limits, Now: time.Now, Commit: 5 * stall}
}

// Limit gives a client limits of a test's own, and a clock.
func (c *Client) Limit(l patience.Limits, now func() time.Time) { c.pace.Limits, c.pace.Now = l, now }
