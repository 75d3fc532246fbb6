package container

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/ids"
	"github.com/cooperbuild/cooper/executor/internal/memfs"
	"github.com/cooperbuild/cooper/executor/internal/mounts"
	"github.com/cooperbuild/cooper/executor/internal/seccomp"
	"github.com/cooperbuild/cooper/executor/internal/steproot"
	"github.com/cooperbuild/cooper/executor/step"
)

// What every step gets, unless it asks for something else.
const (
	defaultShmSize  = 64 << 20 // bytes
	devSize         = 64 << 20 // bytes that a step may put into /dev itself, /dev/shm apart
	defaultHostname = "cooper"
)

// EmptyDir is an empty directory in the container's memory file system, which no one may write to.
const EmptyDir = "empty"

// Container holds all that is prepared for a step's child: detached mounts, and the places where the child attaches
// them.
type Container struct {
	Step   step.Step
	Filter *seccomp.Filter // the step's system call filter
	IDs    *ids.Namespace  // the step's user namespace; EnterMapping makes it
	Memory *memfs.FS       // the step's /dev and small files
	Kernel *Kernel         // the kernel's file systems
	Root   *steproot.Root
	Mounts *mounts.Plan // all other mounts
	User   step.User    // who runs the step, and Env the step's environment; Identify sets both
	Env    []string

	// Bounds are the limits that the first process sets, besides those of the step.
	Bounds Bounds

	// Null is the null device: the step's input, and outputs without a writer. The back end's Prepare opens it.
	Null *os.File
	Own  []*os.File // files of the back end that Close closes, the last one first
}

// Bounds are limits of a step that its first process sets, or that it must know of.
type Bounds struct {
	Group bool // the step has a control group, which its first process is in when it begins
	Shown bool // the step may see that group, since all that it shows is the step's own
	// PIDs is how many processes the step may have; 0: there is no limit.
	PIDs       int64
	Processors *unix.CPUSet // those that the step may use; nil: all
}

// New checks the step and gives a container for it, for which nothing is prepared yet.
func New(s step.Step) (*Container, error) {
	if err := check(s); err != nil {
		return nil, err
	}
	filter, err := s.Security.SystemCalls()
	if err != nil {
		return nil, err
	}
	namespace, err := ids.New(s)
	return &Container{Step: s, Filter: filter, IDs: namespace}, err
}

// EnterMapping makes the step's user namespace, if it has one. Close must be called also after an error.
func (c *Container) EnterMapping() error { return c.IDs.Enter() }

// MakeMounts makes the root and all that is mounted in it as detached mounts, and finds out who runs the step. shm is
// how many bytes /dev/shm takes; 0: the back end makes it.
func (c *Container) MakeMounts(shm int64) (err error) {
	if err := c.IDs.Emulate(c.Step.Emulators); err != nil {
		return err
	}
	if err := c.furnish(shm); err != nil {
		return err
	}
	if c.Kernel, err = openKernel(c.IDs, c.Step.Security.Insecure); err != nil {
		return err
	}
	c.Kernel.ShowsGroup = c.Bounds.Shown || !c.Bounds.Group && c.Kernel.ShowsGroup
	if c.Root, err = steproot.Open(c.Step.Rootfs, c.IDs); err != nil {
		return err
	}
	if err := c.Root.ProvideKernels(); err != nil {
		return err
	}
	if err := c.Identify(); err != nil {
		return err
	}
	texts, err := names(c.Step, c.Hostname(), c.Root.Dir)
	if err != nil {
		return err
	}
	return c.plan(texts)
}

// furnish makes the memory file system with the step's /dev and an empty directory, whose clones hide other ones.
func (c *Container) furnish(shm int64) (err error) {
	size := int64(devSize + 1<<20)
	for _, f := range c.Step.Files {
		size += int64(len(f.Data)) + 4096
	}
	if c.Memory, err = memfs.New(memfs.Options{Size: size, Shm: shm, Owner: c.IDs.Root()}); err != nil {
		return err
	}
	if err := c.Memory.Mkdir(EmptyDir, 0o555); err != nil {
		return err
	}
	return c.Memory.MakeDev()
}

// plan makes the plan of mounts, with the files of name resolution.
func (c *Container) plan(names map[string][]byte) error {
	p := mounts.New(c.IDs, c.Memory, c.Root)
	c.Mounts = p
	if err := p.AddStandard(names); err != nil {
		return err
	}
	if err := p.AddFiles(c.Step.Files); err != nil {
		return err
	}
	if err := p.AddSockets(c.Step.Sockets); err != nil {
		return err
	}
	return p.Make(c.Step.Mounts)
}

// HasOwnNetwork says whether the step is in another network namespace than the caller.
func (c *Container) HasOwnNetwork() bool {
	return c.Step.Network == step.NetworkNone || c.Step.Network == step.NetworkPrivate
}

// Hostname is the host name that the step sees: its own choice, or defaultHostname.
func (c *Container) Hostname() string {
	if c.Step.Hostname == "" {
		return defaultHostname
	}
	return c.Step.Hostname
}

// ShmSize is the size of /dev/shm in bytes.
func (c *Container) ShmSize() int64 {
	if c.Step.ShmSize <= 0 {
		return defaultShmSize
	}
	return c.Step.ShmSize
}

// check refuses a step with missing, impossible or contradictory values.
func check(s step.Step) error {
	switch {
	case len(s.Args) == 0 || s.Args[0] == "":
		return step.ErrNoArgs
	case !slices.Contains([]string{"", "host", step.NetworkNone, step.NetworkPrivate}, s.Network):
		return fmt.Errorf("network %q: want host, none or private", s.Network)
	case (s.Network == step.NetworkPrivate) != (s.NetNS != nil):
		return errors.New("a network namespace is for a step with the private network, which needs one")
	case len(s.Hostname) > 64:
		return fmt.Errorf("host name %q: longer than 64 bytes", s.Hostname)
	case len(s.Hooks) > 0 && s.Runtime == nil:
		return errors.New("hooks are for a step that an OCI runtime runs")
	case s.Hostname != "" && !s.Shared.UTS.IsOwn():
		return errors.New("a host name is for a step with a UTS namespace of its own")
	case s.UserNS != nil && (s.Mapping == nil || s.Mapping != &s.UserNS.Mapping):
		return errors.New("join a user namespace: the step's map is not the namespace's")
	case s.Cwd != "" && !strings.HasPrefix(s.Cwd, "/"):
		return fmt.Errorf("working directory %q: not absolute", s.Cwd)
	}
	return nil
}

// Identify looks up the user that the step runs as, and makes its environment.
func (c *Container) Identify() error {
	var err error
	if c.User, err = step.LookupUser(c.Root.Dir, c.Step.User); err != nil {
		return err
	}
	if err := c.User.AddGroups(c.Root.Dir, c.Step.AddGroups); err != nil {
		return err
	}
	if err := c.IDs.Check(c.User); err != nil {
		return fmt.Errorf("user %q: %w", c.Step.User, err)
	}
	c.Env = environ(c.Step.Env, c.User.Home)
	return nil
}

// Close closes all files and mounts, and removes what was made in the root only for the step.
func (c *Container) Close() error {
	var err error
	if c.Root != nil && c.Root.Ran && c.Mounts != nil {
		err = c.Mounts.Keep()
	}
	for _, f := range slices.Backward(c.Own) {
		f.Close()
	}
	if c.Mounts != nil {
		c.Mounts.Close()
	}
	if c.Kernel != nil {
		c.Kernel.Close()
	}
	if c.Memory != nil {
		c.Memory.Close()
	}
	if c.Null != nil {
		c.Null.Close()
	}
	if c.Root != nil {
		err = errors.Join(err, c.Root.Close())
		if err != nil && !errors.Is(err, step.ErrStillWritten) {
			err = fmt.Errorf("clean up step: %w", err)
		}
	}
	c.IDs.Close()
	return err
}
