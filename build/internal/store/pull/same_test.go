package pull_test

import (
	"errors"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

// inode is that of a layer's directory.
func inode(t *testing.T, d *depot.Depot, id string) uint64 {
	t.Helper()
	dir, err := d.Store.DiffDir(id)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// strangeLayer is one that the library can't unpack: a path comes twice.
func strangeLayer() layerBlob { return oddTar("f a one", "f a two") }

// begin copies an image, and returns when that has ended, or has had the time to be about to make a layer. What it
// returns waits for the end.
func begin(t *testing.T, d *depot.Depot, src *origin, root ocispec.Descriptor) (end func() error) {
	t.Helper()
	const enough = 500 * time.Millisecond
	ended := make(chan error, 1)
	go func() {
		_, err := d.Pull.Copy(t.Context(), src, root, copyOptions("example.test/b:v1"))
		ended <- err
	}()
	select {
	case err := <-ended:
		ended <- err
	case <-time.After(enough):
	}
	return func() error { return <-ended }
}

func TestALayerIsMadeByOneAtATime(t *testing.T) {
	for name, blob := range map[string]layerBlob{"plain": gzipLayer("a"), "odd": strangeLayer()} {
		t.Run(name, func(t *testing.T) {
			d := storetest.Open(t, store.Options{Driver: "overlay"})
			src := newOrigin()
			id := store.LayerID("", digest.FromBytes(blob.tar))
			unlock, err := d.Store.LockCommit(t.Context(), id) // a build commits the same layer
			if err != nil {
				t.Fatal(err)
			}
			end := begin(t, d, src, src.image(blob))
			if d.Store.HasLayer(id) {
				t.Error("the layer was made while somebody else was making it")
			}
			if err := errors.Join(unlock(), end()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestALayerThatIsBeingRemovedIsNotReplaced(t *testing.T) {
	for name, blob := range map[string]layerBlob{"plain": gzipLayer("a"), "odd": strangeLayer()} {
		t.Run(name, func(t *testing.T) {
			d := storetest.Open(t, store.Options{Driver: "overlay"})
			src := newOrigin()
			img, err := d.Pull.Copy(t.Context(), src, src.image(blob), copyOptions("example.test/a:v1"))
			if err != nil {
				t.Fatal(err)
			}
			id := img.Layers[0].ID
			before := inode(t, d, id)
			unlock, err := d.Store.Parts().Uses.LockRemoval(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Store.Parts().Uses.Condemn([]string{id}); err != nil {
				t.Fatal(err)
			}
			end := begin(t, d, src, src.image(blob))
			if after := inode(t, d, id); after != before {
				t.Error("the layer's directory was replaced")
			}
			if err := errors.Join(d.Store.Parts().Uses.Absolve(id), unlock(), end()); err != nil {
				t.Error(err)
			}
			if after := inode(t, d, id); after != before {
				t.Error("the layer's directory was replaced")
			}
		})
	}
}
