package executor

import "golang.org/x/sys/unix"

// backEnd runs the step of one container. Each is made for the container by newBackEnd, which alone knows which ones
// there are.
type backEnd interface {
	// prepare makes everything that can be made without the step's namespaces, and leaves it in the container, which
	// closes it: makeMounts does so for a back end that mounts. It is called once, first.
	prepare() error
	// launch says what the step's first process does. It is called once, after prepare has succeeded.
	launch(h handles) launch
	// failure says why the step's program could not be run, though the first process has ended by itself; nil if it was.
	failure() error
}

// launch is the first process of a step, before it is started.
type launch struct {
	script     *script
	namespaces uintptr // CLONE_NEW* flags of those that it gets
	// attachesRoot says that it attaches the container's root in its mount namespace.
	attachesRoot bool
	// handles reports whether a signal that is sent to the process, whose ID is pid, finds a handler in the step.
	handles func(pid int, sig unix.Signal) bool
}

// newBackEnd gives the back end that the step asks for.
func newBackEnd(c *container) (backEnd, error) {
	if c.step.Runtime != nil {
		return newOCI(c, *c.step.Runtime)
	}
	return &native{c: c}, nil
}
