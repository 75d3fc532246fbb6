package library

import (
	"go.podman.io/storage"
)

// containers are the library's calls that are about containers.
type containers struct {
	store storage.Store
	fuse  *fuse
}

// Containers lists the containers of all tools.
func (c *containers) Containers() ([]storage.Container, error) {
	return ask(c.fuse, c.store.Containers)
}

// Container finds a container by ID, by the beginning of one, or by name.
func (c *containers) Container(id string) (*storage.Container, error) {
	return ask(c.fuse, func() (*storage.Container, error) { return c.store.Container(id) })
}

// CreateContainer makes a container with a writable layer on an image's, or on none if image is empty. An empty ID is
// chosen. The error is storage.ErrDuplicateName or ErrDuplicateID if the name or ID is taken.
func (c *containers) CreateContainer(id string, names []string, image string,
	o *storage.ContainerOptions) (made *storage.Container, err error) {
	err = c.fuse.do(func() error {
		return withoutUmask(func() (err error) {
			made, err = c.store.CreateContainer(id, names, image, "", "", o)
			return err
		})
	})
	return made, err
}

// DeleteContainer removes a container with its layer.
func (c *containers) DeleteContainer(id string) error {
	return c.fuse.do(func() error { return c.store.DeleteContainer(id) })
}

// ContainerDirectory is the path of the directory that tools keep files of a container in.
func (c *containers) ContainerDirectory(id string) (string, error) {
	return ask(c.fuse, func() (string, error) { return c.store.ContainerDirectory(id) })
}

// Mounted counts how often a container's layer is mounted, in whichever mount namespace.
func (c *containers) Mounted(id string) (int, error) {
	return ask(c.fuse, func() (int, error) { return c.store.Mounted(id) })
}
