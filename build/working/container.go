package working

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cooperbuild/cooper/build/internal/store/containers"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/workstate"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/session"
)

// State is what is known of a container besides its files.
type State = workstate.State

// Sandbox are the settings of a container's commands.
type Sandbox = workstate.Sandbox

// Takes are the limits of what each command takes of the machine.
type Takes = workstate.Takes

// NewState is the state of a container on nothing that is made at the given time.
func NewState(made time.Time) *State { return workstate.New(workstate.Base{}, MachinePlatform(), made) }

// ParseIsolation reads the name of an isolation.
func ParseIsolation(text string) (workstate.Isolation, bool) { return workstate.ParseIsolation(text) }

// ErrNone says that the store has no such container.
var ErrNone = containers.ErrNone

// ErrOther says that a container is one of another tool that makes no images of it, such as podman's.
var ErrOther = errors.New(
	"it is no working container: nothing says what an image of it would be\nhint: podman has its own containers; cooper from IMAGE makes a working container")

// Container is a working container that nobody else works on until Close.
type Container struct {
	session *session.Session
	depot   *depot.Depot
	room    *containers.Room
	record  containers.Container
	to      progress.Sink
	unlock  func() error
	// State may be changed; Save keeps the changes.
	State *State
}

// Open finds a container by name, ID or the beginning of an ID, and waits until nobody else works on it. to gets what
// is to be said meanwhile.
func Open(ctx context.Context, s *session.Session, name string, to progress.Sink) (*Container, error) {
	d, err := s.Depot(ctx)
	if err != nil {
		return nil, err
	}
	c := &Container{session: s, depot: d, room: containers.New(d.Store), to: to}
	found, err := c.room.Find(name)
	if err != nil {
		return nil, err
	}
	c.unlock, err = c.room.Lock(ctx, found.ID, func() {
		to.Emit(progress.Note{Text: fmt.Sprintf("waiting for another cooper that works on container %s", found.Name())})
	})
	if err != nil {
		return nil, err
	}
	if err := c.load(found.ID); err != nil {
		return nil, errors.Join(err, c.unlock())
	}
	return c, nil
}

// load reads the container's record and state.
func (c *Container) load(id string) (err error) {
	if c.record, err = c.room.Find(id); err != nil {
		return err
	}
	text, err := c.room.Read(id, containers.StateFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("container %s: %w", c.record.Name(), ErrOther)
	case err != nil:
		return err
	case c.record.Mapped:
		return fmt.Errorf("container %s: its files have IDs of a map of its own, which cooper can't work with\n"+
			"hint: make it without --userns and its relatives", c.record.Name())
	}
	if c.State, err = workstate.Parse(text); err != nil {
		return fmt.Errorf("container %s: %w", c.record.Name(), err)
	}
	return nil
}

// ID is the container's ID.
func (c *Container) ID() string { return c.record.ID }

// Name is what people call the container.
func (c *Container) Name() string { return c.record.Name() }

// Save keeps the state.
func (c *Container) Save() error {
	text, err := c.State.Text()
	if err != nil {
		return fmt.Errorf("container %s: %w", c.Name(), err)
	}
	return c.room.Write(c.ID(), containers.StateFile, text)
}

// Close lets others work on the container.
func (c *Container) Close() error { return c.unlock() }

// Has tells whether a store has a container of that name or ID. It makes no store.
func Has(ctx context.Context, s *session.Session, name string) (bool, error) {
	d, err := s.Existing(ctx)
	if err != nil || d == nil {
		return false, err
	}
	_, err = containers.New(d.Store).Find(name)
	if errors.Is(err, containers.ErrNone) {
		return false, nil
	}
	return err == nil, err
}

// Change changes the state of a container.
func Change(ctx context.Context, s *session.Session, name string, to progress.Sink,
	change func(*State) error) (err error) {
	c, err := Open(ctx, s, name, to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := change(c.State); err != nil {
		return err
	}
	return c.Save()
}

// now is the time that histories get.
func now() time.Time { return time.Now().UTC() }
