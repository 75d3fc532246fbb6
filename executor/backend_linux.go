package executor

import "golang.org/x/sys/unix"

// backEnd runs the step of one container. newBackEnd makes it for the container, and is the only place that names all
// back ends.
type backEnd interface {
	// prepare makes all mounts and files that can be made without the step's namespaces, and stores them in the container,
	// which closes them; a back end that mounts calls container.makeMounts. It is called first, and once.
	prepare() error
	// launch gives the step's first process. It is called once, after prepare has succeeded.
	launch(h handles) launch
	// failure gives the reason if the first process has ended by itself without having run the step's program; otherwise
	// nil.
	failure() error
}

// launch is the first process of a step, before it is started.
type launch struct {
	script     *script
	namespaces uintptr // CLONE_NEW* flags of the namespaces that the process gets
	// attachesRoot tells that the process attaches the container's root in its mount namespace.
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
