package containers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// StateFile is the file of a container with what buildah knows of it. A container without one isn't a working
// container.
const StateFile = "buildah.json"

// ErrNone says that the store has no such container.
var ErrNone = errors.New("no such container in the store")

// ErrNameTaken says that another container has the name.
var ErrNameTaken = errors.New("another container has this name")

// Container is the record of a container.
type Container struct {
	ID string
	// Names are what the container is called. Other tools may give one several, or none.
	Names []string
	// Image is the ID of the image that the layer is made on; empty: none. Layer is the ID of the writable layer.
	Image, Layer string
	Created      time.Time
	// Mapped says that it was made with a map of IDs of its own.
	Mapped bool
	record storage.Container
}

// Name is what people call the container.
func (c Container) Name() string {
	if len(c.Names) > 0 {
		return c.Names[0]
	}
	return c.ID
}

// Room has the containers of one store. It is safe for concurrent use.
type Room struct {
	store   *store.Store
	library *library.Library
}

// New gives the room of a store's containers.
func New(s *store.Store) *Room { return &Room{store: s, library: library.Of(s.Parts().Library)} }

func containerOf(c *storage.Container) Container {
	return Container{ID: c.ID, Names: c.Names, Image: c.ImageID, Layer: c.LayerID, Created: c.Created,
		Mapped: len(c.UIDMap)+len(c.GIDMap) > 0, record: *c}
}

// Find finds a container by name, by ID or by the beginning of an ID. The error is ErrNone if there is none.
func (r *Room) Find(name string) (Container, error) {
	c, err := r.library.Container(name)
	if errors.Is(err, storage.ErrContainerUnknown) {
		return Container{}, fmt.Errorf("%s: %w", name, ErrNone)
	}
	if err != nil {
		return Container{}, fmt.Errorf("look up container %s: %w", name, err)
	}
	return containerOf(c), nil
}

// List lists the containers of all tools, in the order of their making.
func (r *Room) List() ([]Container, error) {
	all, err := r.library.Containers()
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	list := make([]Container, 0, len(all))
	for i := range all {
		list = append(list, containerOf(&all[i]))
	}
	slices.SortStableFunc(list, func(a, b Container) int { return a.Created.Compare(b.Created) })
	return list, nil
}

// Create makes a container of that name on an image; "" for either is none.
func (r *Room) Create(name, image string) (Container, error) {
	var names []string
	if name != "" {
		names = []string{name}
	}
	// The flag says that the container's files needn't be synced. The option of the same name would also put the record
	// where earlier versions of the library don't look.
	c, err := r.library.CreateContainer("", names, image, &storage.ContainerOptions{
		IDMappingOptions: storage.IDMappingOptions{HostUIDMapping: true, HostGIDMapping: true},
		Flags:            map[string]any{"Volatile": true},
	})
	if errors.Is(err, storage.ErrDuplicateName) {
		return Container{}, fmt.Errorf("%s: %w", name, ErrNameTaken)
	}
	if err != nil {
		return Container{}, fmt.Errorf("make container: %w", err)
	}
	return containerOf(c), nil
}

// Rebase gives a container an empty layer on another image. Its ID, its names and its files stay. The caller has its
// lock, and what is in the layer is lost.
func (r *Room) Rebase(c Container, image string) (Container, error) {
	kept, err := r.files(c.ID)
	if err != nil {
		return c, err
	}
	if err := r.library.DeleteContainer(c.ID); err != nil {
		return c, fmt.Errorf("put container %s on another image: %w", c.Name(), err)
	}
	made, err := r.library.CreateContainer(c.ID, c.Names, image, &storage.ContainerOptions{
		IDMappingOptions: storage.IDMappingOptions{HostUIDMapping: true, HostGIDMapping: true},
		Flags:            c.record.Flags, Metadata: c.record.Metadata,
	})
	if err != nil {
		return c, fmt.Errorf("put container %s on another image: %w", c.Name(), err)
	}
	for name, data := range kept {
		err = errors.Join(err, r.Write(c.ID, name, data))
	}
	return containerOf(made), err
}

// files are the regular files of a container's directory.
func (r *Room) files(id string) (map[string][]byte, error) {
	dir, err := r.library.ContainerDirectory(id)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", id, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if all[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Delete removes a container with its layer.
func (r *Room) Delete(c Container) error {
	if err := r.library.DeleteContainer(c.ID); err != nil {
		return fmt.Errorf("remove container %s: %w", c.Name(), err)
	}
	return nil
}

// Rename gives a container another name.
func (r *Room) Rename(c Container, name string) error {
	if other, err := r.Find(name); err == nil && slices.Contains(other.Names, name) {
		return fmt.Errorf("%s: %w: %.12s", name, ErrNameTaken, other.ID)
	}
	if err := r.library.SetNames(c.ID, []string{name}); err != nil {
		return fmt.Errorf("rename container %s: %w", c.Name(), err)
	}
	return nil
}

// Read reads a file of a container; the error is fs.ErrNotExist if there is none.
func (r *Room) Read(id, name string) ([]byte, error) {
	dir, err := r.library.ContainerDirectory(id)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", id, err)
	}
	return os.ReadFile(filepath.Join(dir, name))
}

// Write writes a file of a container.
func (r *Room) Write(id, name string, data []byte) error {
	dir, err := r.library.ContainerDirectory(id)
	if err != nil {
		return fmt.Errorf("container %s: %w", id, err)
	}
	if err := fsys.Replace(filepath.Join(dir, name), data, fsys.ReplaceOptions{}); err != nil {
		return fmt.Errorf("write %s of container %s: %w", name, id, err)
	}
	return nil
}

// IsWorking tells whether a container is one that images are made from.
func (r *Room) IsWorking(c Container) bool {
	dir, err := r.library.ContainerDirectory(c.ID)
	if err != nil {
		return false
	}
	_, err = os.Lstat(filepath.Join(dir, StateFile))
	return err == nil
}

// locksDir has the files that are locked while a container is worked on.
const locksDir = "containers"

// Lock waits until nobody else works on a container; waiting is called if somebody does. The lock ends with the process
// at the latest.
func (r *Room) Lock(ctx context.Context, id string, waiting func()) (unlock func() error, err error) {
	dir := filepath.Join(r.store.Paths().Own, locksDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lock container: %w", err)
	}
	path := filepath.Join(dir, id)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock container: %w", err)
		}
		got, err := flock.Try(f, flock.Exclusive)
		if err == nil && !got {
			waiting()
			err = flock.Lock(ctx, f, flock.Exclusive)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock container: %w", err), f.Close())
		}
		if same(f, path) {
			return f.Close, nil
		}
		_ = f.Close() // whoever had it has removed the container, and this file
	}
}

// same tells whether an open file is the one of that path.
func same(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Lstat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// DropLock removes the lock's file of a container that is gone. The caller has the lock.
func (r *Room) DropLock(id string) error {
	err := os.Remove(filepath.Join(r.store.Paths().Own, locksDir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Unused is the first of the names NAME, NAME-1, NAME-2 and so on that no container has.
func (r *Room) Unused(name string) (string, error) {
	all, err := r.List()
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, c := range all {
		for _, n := range c.Names {
			taken[n] = true
		}
	}
	for n, try := 1, name; ; n++ {
		if !taken[try] {
			return try, nil
		}
		try = fmt.Sprintf("%s-%d", name, n)
	}
}

// Base is what the name of a container begins with that is made on an image of that name: the last word of the name
// without tag and digest.
func Base(image string) string {
	name := image[strings.LastIndexByte(image, '/')+1:]
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	return name
}
