package build

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cooperbuild/cooper/build/source"
)

// contexts are the directories files come from, opened when first needed. The main context's name is "".
type contexts struct {
	req    *Request
	ignore *source.Ignore

	mu   sync.Mutex
	open map[string]*source.Context
}

func (c *contexts) get(name string) (*source.Context, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx, ok := c.open[name]; ok {
		return ctx, nil
	}
	dir, ignore := c.req.ContextDir, c.ignore
	if name != "" {
		dir = c.req.Contexts[name].Ref
		var err error
		if ignore, err = source.FindIgnore("", dir); err != nil {
			return nil, err
		}
	}
	ctx, err := source.OpenDir(dir, ignore)
	if err != nil {
		return nil, fmt.Errorf("open context %q: %w", name, err)
	}
	c.open[name] = ctx
	return ctx, nil
}

func (c *contexts) close() error {
	var errs []error
	for _, ctx := range c.open {
		errs = append(errs, ctx.Close())
	}
	return errors.Join(errs...)
}
