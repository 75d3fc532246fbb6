package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/build/registry/credentials"
	"github.com/cooperbuild/cooper/build/registry/internal/wire"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// hub is the registry that names without a registry mean; hubHost is the host that serves it.
const (
	hub     = "docker.io"
	hubHost = "registry-1.docker.io"
)

// Options say how to reach registries. The zero value asks for HTTPS and searches the usual files.
type Options struct {
	// Insecure allows plain HTTP and certificates that can't be verified, with every registry.
	Insecure bool
	// AuthFile is the path of the only file to look for credentials in, CertDir that of the only directory to look for
	// certificates in; empty: the usual places.
	AuthFile, CertDir string
	// Username and Password are the credentials for every registry; empty: those that files and helpers have.
	Username, Password string
	// FirstPause is the pause after the first failure of a request; it doubles with each further one. 0: a quarter of a
	// second.
	FirstPause time.Duration
}

// Client reaches registries. It is safe for concurrent use; Close ends its idle connections.
type Client struct {
	policy conf.Policy
	opts   Options
	pace   wire.Pace
	spare  *semaphore.Weighted // the connections of downloads besides the first of each

	mu    sync.Mutex
	repos map[access]*repository
}

// access is a repository and what the client does there.
type access struct {
	conf.Endpoint
	// actions are what is done there: wire.Pulls or wire.Pushes.
	actions string
}

// NewClient makes a client with the user's configuration.
func NewClient(o Options) (*Client, error) {
	if err := conf.Read(); err != nil {
		return nil, err
	}
	if o.Username == "" {
		if err := credentials.CheckFile(o.AuthFile); err != nil {
			return nil, err
		}
	}
	policy, err := conf.LoadPolicy()
	if err != nil {
		return nil, err
	}
	pace := wire.UsualPace()
	pace.First = cmp.Or(o.FirstPause, pace.First)
	return &Client{policy: policy, opts: o, pace: pace, spare: semaphore.NewWeighted(maxSpare),
		repos: map[access]*repository{}}, nil
}

// Close ends the client's idle connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.repos {
		r.transport.CloseIdleConnections()
		if r.upload != nil {
			r.upload.CloseIdleConnections()
		}
	}
}

// Resolve finds the manifest or index of an image, in the first of its mirrors that has it or in its own registry. The
// reference has a tag or a digest; if it has both, the digest counts. Images that policy.json forbids are refused
// before any request.
func (c *Client) Resolve(ctx context.Context, ref reference.Reference) (*Remote, error) {
	if err := c.policy.Check(ref); err != nil {
		return nil, err
	}
	return first(ctx, c, ref, func(repo *repository, at reference.Reference) (*Remote, error) {
		return repo.resolve(ctx, at)
	})
}

// first asks an image's mirrors and then its own registry, by the name that the image has there, and gives the first
// answer that is no error.
func first[T any](ctx context.Context, c *Client, ref reference.Reference,
	ask func(repo *repository, at reference.Reference) (T, error)) (answer T, err error) {
	ends, err := conf.Mirrors(ref)
	if err != nil {
		return answer, err
	}
	var errs []error
	for _, e := range ends {
		repo, err := c.repository(e, wire.Pulls)
		if err == nil {
			if answer, err = ask(repo, e.Ref); err == nil {
				return answer, nil
			}
		}
		if ctx.Err() != nil {
			return answer, context.Cause(ctx)
		}
		if len(ends) > 1 {
			err = fmt.Errorf("%s: %w", e.Ref, err)
		}
		errs = append(errs, err)
	}
	return answer, errors.Join(errs...)
}

// repository gives the connection to the repository of an endpoint, which all callers for the same actions share.
func (c *Client) repository(e conf.Endpoint, actions string) (*repository, error) {
	e.Ref = e.Ref.Repository()
	e.Insecure = e.Insecure || c.opts.Insecure
	key := access{e, actions}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.repos[key]; r != nil {
		return r, nil
	}
	r, err := c.newRepository(e, actions)
	if err == nil {
		c.repos[key] = r
	}
	return r, err
}
