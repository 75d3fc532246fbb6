package registry

import (
	"time"

	"github.com/cooperbuild/cooper/build/internal/patience"
)

// Hurry makes a client impatient, for tests that must fail soon.
func (c *Client) Hurry(first, stall time.Duration) {
	limits := patience.Usual()
	limits.Stall = stall
	c.pace = pace{first: first, limits: limits, now: time.Now, commit: 5 * stall}
}

// Limit gives a client limits of a test's own, and a clock.
func (c *Client) Limit(l patience.Limits, now func() time.Time) { c.pace.limits, c.pace.now = l, now }

// RefuseOwn is refuseOwn.
func RefuseOwn(address string) error { return refuseOwn("tcp", address, nil) }
