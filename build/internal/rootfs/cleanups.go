package rootfs

import (
	"errors"
	"sync"
)

// cleanups are what is to be done at the end of a build. It is safe for concurrent use.
type cleanups struct {
	mu  sync.Mutex
	all []func() error
}

// add has a function called by run.
func (c *cleanups) add(f func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, f)
}

// run calls all functions, the one that was added last first, and gives their errors.
func (c *cleanups) run() error {
	c.mu.Lock()
	all := c.all
	c.all = nil
	c.mu.Unlock()
	var errs []error
	for i := len(all) - 1; i >= 0; i-- {
		errs = append(errs, all[i]())
	}
	return errors.Join(errs...)
}
