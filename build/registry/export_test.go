package registry

import "time"

// Hurry makes a client impatient, for tests that must fail soon.
func (c *Client) Hurry(first, stall time.Duration) { c.pace = pace{first: first, stall: stall} }
