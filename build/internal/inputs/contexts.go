package inputs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cooperbuild/cooper/build/internal/fetch"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
)

// Contexts are the places files come from, each opened when it is first needed and at most once. The main context's
// name is "". They are safe for concurrent use.
type Contexts struct {
	opener opener
	// date gives the time of the main context; nil: it has none. ReadMain sets it.
	date func(ctx context.Context) (time.Time, error)

	mu   sync.Mutex
	open map[string]*Context
}

// Context is one of the contexts of a build.
type Context struct {
	// Dir is the directory with the files; nobody changes it once Get or ReadMain has returned the context.
	Dir *source.Context
	// Fleeting says that the files have been unpacked for this build alone: their inodes mean nothing to another one.
	Fleeting bool

	// turn has one place: who has it opens the context, or finds it opened. The fields below and those above are written
	// by whoever has the turn, until opened is set.
	turn   chan struct{}
	opened bool
	// err is the reason why the context can't be opened; nil: it can.
	err error
	// release gives back the directory that opener.named or opener.main has found; nil: they have found none.
	release func() error
}

// New prepares the contexts of a build. What is fetched or unpacked lies in st, which may be nil if nothing is built:
// then contexts can only be directories or a Dockerfile on standard input. The caller calls Close.
func New(o Options, st *store.Store) *Contexts {
	return &Contexts{opener: newOpener(o, st), open: map[string]*Context{}}
}

// ReadMain opens the main context and reads the Dockerfile. The caller calls it before
// any other method. With a *dockerfile.Error it also returns the part of the file that could be read.
func (c *Contexts) ReadMain(ctx context.Context) (File, error) {
	place, err := c.opener.main(ctx)
	if err != nil {
		return File{}, fmt.Errorf("open build context: %w", err)
	}
	main := c.entry("")
	main.opened, main.release, main.Fleeting = true, place.release, place.fleeting
	c.date = place.date
	df, err := c.opener.read(ctx, place)
	if err != nil || place.path == "" {
		return df, err
	}
	main.Dir, err = source.OpenDir(place.path, df.Ignore)
	return df, err
}

// Put adds a context that is open already, under a name that no other one has. Close closes it.
func (c *Contexts) Put(name string, dir *source.Context) {
	e := c.entry(name)
	e.Dir, e.opened = dir, true
}

func (c *Contexts) entry(name string) *Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.open[name]
	if e == nil {
		e = &Context{turn: make(chan struct{}, 1)}
		c.open[name] = e
	}
	return e
}

// Get opens a context, which may take a download. If that fails because ctx has ended, the next
// call tries again: a build that starts anew comes with another ctx.
func (c *Contexts) Get(ctx context.Context, name string) (*Context, error) {
	e := c.entry(name)
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("open context %q: %w", name, context.Cause(ctx))
	}
	defer func() { <-e.turn }()
	if e.opened {
		return e, e.err
	}
	if err := c.load(ctx, name, e); err != nil {
		err = fmt.Errorf("open context %q: %w", name, err)
		if ctx.Err() != nil {
			return nil, err
		}
		e.err = err
	}
	e.opened = true
	return e, e.err
}

func (c *Contexts) load(ctx context.Context, name string, e *Context) error {
	place, err := c.opener.named(ctx, c.opener.Named[name])
	if err != nil {
		return err
	}
	ignore, err := source.FindIgnore("", place.path)
	if err == nil {
		e.Dir, err = source.OpenDir(place.path, ignore)
	}
	if err != nil {
		return errors.Join(err, place.release())
	}
	e.release, e.Fleeting = place.release, place.fleeting
	return nil
}

// Open opens the named contexts among inputs. The step that takes files from them calls it, so that only this step
// waits for a download and can be cancelled meanwhile.
func (c *Contexts) Open(ctx context.Context, from []plan.Input) error {
	for _, in := range from {
		if in.Kind != plan.InputContext || in.Name == "" {
			continue
		}
		if _, err := c.Get(ctx, in.Name); err != nil {
			return err
		}
	}
	return nil
}

// Fetched is the cache of fetched files and repositories.
func (c *Contexts) Fetched() (*fetch.Sources, error) { return c.opener.cache() }

// Secret looks up the token for a server by its ID.
func (c *Contexts) Secret(id string) ([]byte, bool) { return c.opener.Secret(id) }

// Close closes the opened contexts and removes the unpacked ones. The caller must not use them any more.
func (c *Contexts) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, e := range c.open {
		if e.Dir != nil {
			errs = append(errs, e.Dir.Close())
		}
		if e.release != nil {
			errs = append(errs, e.release())
		}
	}
	clear(c.open)
	return errors.Join(errs...)
}
