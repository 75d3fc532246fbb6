package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/userns"
)

// Registry says how registries are reached.
type Registry struct {
	// Insecure allows plain HTTP and certificates that can't be verified.
	Insecure bool
	// AuthFile is the path of the file with credentials, CertDir that of the directory with certificates; empty:
	// podman's.
	AuthFile, CertDir string
	// Username and Password are the credentials for every registry; empty: those in credential files.
	Username, Password string
	// Retries say how often pulls and pushes are tried again.
	Retries registry.Retries
	// FirstPause is that of registry.Options.
	FirstPause time.Duration
}

// Options are the same settings for package registry.
func (r Registry) Options() registry.Options {
	return registry.Options{Insecure: r.Insecure, AuthFile: r.AuthFile, CertDir: r.CertDir, Username: r.Username,
		Password: r.Password, FirstPause: r.FirstPause}
}

// Options say what a session shares. The zero value is the user's own store.
type Options struct {
	Store    store.Options
	Registry Registry
}

// ErrClosed is the error of calls that need the store of a session that was closed.
var ErrClosed = errors.New("the session is closed")

// Session is what builds share. It is safe for concurrent use.
type Session struct {
	options Options
	caller  func() (userns.Process, error)

	mu sync.Mutex
	// depot is the open store; nil until the first call that needs it, and after Close.
	depot  *depot.Depot
	closed bool
}

// New makes a session and opens nothing yet. The caller calls Close when all builds that use the session have ended.
func New(o Options) *Session {
	return &Session{options: o, caller: sync.OnceValues(userns.ThisProcess)}
}

// Registry says how registries are reached.
func (s *Session) Registry() Registry { return s.options.Registry }

// Caller is who calls, and in which user namespace this process is.
func (s *Session) Caller() (userns.Process, error) { return s.caller() }

// Depot is the session's store with its rooms, which the first call opens or makes. Only the session closes it. The
// error is a store.ErrMachine if this machine can't open it.
func (s *Session) Depot(ctx context.Context) (*depot.Depot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, fmt.Errorf("open the store: %w", ErrClosed)
	case s.depot != nil:
		return s.depot, nil
	}
	d, err := depot.Open(ctx, s.options.Store)
	if err != nil {
		return nil, explain(nil, err)
	}
	s.depot = d
	return d, nil
}

// Existing is like Depot, but makes no store: the result is nil where there is none.
func (s *Session) Existing(ctx context.Context) (*depot.Depot, error) {
	if there, err := store.Exists(s.options.Store); err != nil || !there {
		return nil, err
	}
	return s.Depot(ctx)
}

// Peek reads the files of the store as they are. It needs no user namespace, and opens and changes nothing.
func (s *Session) Peek() (*images.Peeker, error) { return images.NewPeeker(s.options.Store) }

// Explain makes a store.ErrMachine of an error of a disk that can't take what has to be written to it, which may come
// from anywhere: a pull, a step's directory, a commit, a shifted copy, an output; and of one of a container around the
// build that hides parts of /proc. Other errors are returned as they are.
func (s *Session) Explain(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return explain(s.depot, err)
}

func explain(d *depot.Depot, err error) error {
	if errors.Is(err, store.ErrMachine) {
		return err
	}
	if errors.Is(err, executor.ErrHiddenProc) {
		return fmt.Errorf("%w: %w\nhint: start the container around this with --security-opt systempaths=unconfined "+
			"(podman: unmask=ALL), or in Kubernetes with securityContext.procMount: Unmasked", store.ErrMachine, err)
	}
	if d != nil {
		err = d.Store.Unusable(err)
	}
	if full := new(store.UnusableError); errors.As(err, &full) {
		return fmt.Errorf("%w: %w", store.ErrMachine, full)
	}
	return err
}

// Close closes the store, if it was opened. Further calls do nothing.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.depot == nil {
		return nil
	}
	err := explain(s.depot, s.depot.Close())
	s.depot = nil
	return err
}
