package executor

import (
	"github.com/cooperbuild/cooper/executor/internal/container"
	"github.com/cooperbuild/cooper/executor/internal/native"
	"github.com/cooperbuild/cooper/executor/internal/oci"
	"github.com/cooperbuild/cooper/executor/internal/script"
)

// backEnd runs the step of one container. newBackEnd makes it for the container, and is the only place that names all
// back ends.
type backEnd interface {
	// Prepare makes everything that can be made without the step's namespaces, and leaves it in the container, which
	// closes it: Container.MakeMounts does so for a back end that mounts. It is called once, first.
	Prepare() error
	// Launch says what the step's first process does. It is called once, after Prepare has succeeded.
	Launch(h script.Handles) script.Launch
	// Failure says why the step's program could not be run, though the first process has ended by itself; nil if it was.
	Failure() error
}

// newBackEnd gives the back end that the step asks for.
func newBackEnd(c *container.Container) (backEnd, error) {
	if c.Step.Runtime != nil {
		return oci.New(c, *c.Step.Runtime)
	}
	return &native.BackEnd{C: c}, nil
}
