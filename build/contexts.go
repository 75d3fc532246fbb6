package build

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/source"
	"github.com/cooperbuild/cooper/build/store"
)

// contexts are the places files come from, each opened when it is first needed and at most once. The main context's name
// is "".
type contexts struct {
	opener opener

	mu   sync.Mutex
	open map[string]*openContext
}

// openContext is one of them.
type openContext struct {
	once sync.Once
	err  error
	dir  *source.Context
	// fleeting says that the files have been unpacked for this build alone: their inodes mean nothing to another one.
	fleeting bool
	release  func() error
}

func newContexts(req *Request, st *store.Store) *contexts {
	return &contexts{opener: newOpener(req, st), open: map[string]*openContext{}}
}

// readMain opens the main context and reads the Dockerfile.
func (c *contexts) readMain(ctx context.Context) (readFile, error) {
	place, err := c.opener.main(ctx)
	if err != nil {
		return readFile{}, fmt.Errorf("open build context: %w", err)
	}
	main := c.entry("")
	main.once.Do(func() { main.release, main.fleeting = place.release, place.fleeting })
	df, err := c.opener.read(ctx, place)
	if err != nil {
		return df, err
	}
	main.dir, err = source.OpenDir(place.path, df.ignore)
	return df, err
}

func (c *contexts) entry(name string) *openContext {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.open[name]
	if e == nil {
		e = &openContext{}
		c.open[name] = e
	}
	return e
}

// get opens a context, which may take a download.
func (c *contexts) get(ctx context.Context, name string) (*openContext, error) {
	e := c.entry(name)
	e.once.Do(func() {
		if err := c.load(ctx, name, e); err != nil {
			e.err = fmt.Errorf("open context %q: %w", name, err)
		}
	})
	return e, e.err
}

func (c *contexts) load(ctx context.Context, name string, e *openContext) error {
	place, err := c.opener.named(ctx, c.opener.req.Contexts[name])
	if err != nil {
		return err
	}
	e.release, e.fleeting = place.release, place.fleeting
	ignore, err := source.FindIgnore("", place.path)
	if err != nil {
		return err
	}
	e.dir, err = source.OpenDir(place.path, ignore)
	return err
}

// openContexts opens the named contexts that a step takes files from: it is the step that has to wait for a download, and that
// can be cancelled meanwhile.
func (b *builder) openContexts(ctx context.Context, s *plan.Step) error {
	var inputs []plan.Input
	switch op := s.Op.(type) {
	case *plan.Copy:
		inputs = append(inputs, op.From)
	case *plan.Run:
		for _, m := range op.Mounts {
			inputs = append(inputs, m.From)
		}
	}
	for _, in := range inputs {
		if in.Kind != plan.InputContext || in.Name == "" {
			continue
		}
		if _, err := b.contexts.get(ctx, in.Name); err != nil {
			return err
		}
	}
	return nil
}

// close closes what was opened and removes what was unpacked.
func (c *contexts) close() error {
	var errs []error
	for _, e := range c.open {
		if e.dir != nil {
			errs = append(errs, e.dir.Close())
		}
		if e.release != nil {
			errs = append(errs, e.release())
		}
	}
	clear(c.open)
	return errors.Join(errs...)
}
