package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/userns"
)

var nowhere = strings.Repeat("0", 64)

// TestAChainIsComplete from the lowest layer on, or an error.
func TestAChainIsComplete(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"}).Store
	layers := storetest.Stack(t, storetest.Open(t, store.Options{Driver: "overlay"}), "", "elsewhere")
	if _, err := s.Chain(layers[0].ID); !errors.Is(err, store.ErrNoLayer) || !store.Unknown(err) {
		t.Errorf("a layer of another store: %v", err)
	}
	if chain, err := s.Chain(""); err != nil || len(chain) != 0 {
		t.Errorf("nothing has the chain %v, %v", chain, err)
	}
	for _, bad := range []string{nowhere, "../../etc", "a/b", "", "\x00"} {
		if _, err := s.Layer(bad); !errors.Is(err, store.ErrNoLayer) {
			t.Errorf("layer %q: %v", bad, err)
		}
		if _, err := s.DiffDir(bad); bad != "" && err == nil {
			t.Errorf("layer %q has a directory", bad)
		}
	}
}

// TestALayerIsFoundByItsWholeIDOnly since the library takes the beginning of one, and names.
func TestALayerIsFoundByItsWholeIDOnly(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	l := storetest.Stack(t, d, "", "a", "b")
	if err := library.Of(d.Store.Parts().Library).AddNames(l[0].ID, []string{"named"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{l[0].ID[:12], l[0].ID[:63], "named"} {
		if got, err := d.Store.Layer(name); !errors.Is(err, store.ErrNoLayer) {
			t.Errorf("%s is %+v, %v", name, got, err)
		}
	}
	got, err := d.Store.Chain(l[1].ID)
	if err != nil || len(got) != 2 || got[0].ID != l[0].ID || got[1].Parent != l[0].ID {
		t.Errorf("the chain is %+v, %v", got, err)
	}
}

// TestALayerThatIsInUseStays and one that isn't there is no error.
func TestALayerThatIsInUseStays(t *testing.T) {
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			d := storetest.Open(t, o)
			l := storetest.Stack(t, d, "", "a", "b")
			image := storetest.Image(t, d, "x", l, "localhost/app:1")
			for _, id := range []string{l[0].ID, l[1].ID, nowhere} {
				if err := d.Store.RemoveLayer(id); err != nil {
					t.Error(err)
				}
			}
			for _, l := range l {
				if !d.Store.HasLayer(l.ID) || !d.Store.HasFiles(l.ID) {
					t.Errorf("layer %s of an image is gone", l.ID)
				}
			}
			if _, err := library.Of(d.Store.Parts().Library).DeleteImage(image, true); err != nil {
				t.Fatal(err)
			}
			for _, l := range l {
				if d.Store.HasLayer(l.ID) || d.Store.HasFiles(l.ID) {
					t.Errorf("layer %s stays without its image", l.ID)
				}
			}
		})
	}
}

// TestALayerThatIsBeingRemovedIsNotTaken neither alone nor in a chain.
func TestALayerThatIsBeingRemovedIsNotTaken(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	l := storetest.Stack(t, d, "", "a", "b")
	if _, ok := d.Store.UseLayer(t.Context(), l[1].ID, l[0].ID); !ok {
		t.Fatal("a layer can't be taken")
	}
	if _, ok := d.Store.UseLayer(t.Context(), l[1].ID, ""); ok {
		t.Error("a layer is taken on another parent than its own")
	}
	unlock, err := d.Store.Parts().Uses.LockRemoval(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Store.Parts().Uses.Condemn([]string{l[0].ID}); err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Store.UseLayer(t.Context(), l[0].ID, ""); ok {
		t.Error("a layer that goes is taken")
	}
	if chain, err := d.Store.UseChain(t.Context(), l[1].ID); !errors.Is(err, store.ErrNoLayer) {
		t.Errorf("a chain with a layer that goes is %v, %v", chain, err)
	}
	if err := errors.Join(d.Store.Parts().Uses.Absolve(l[0].ID), unlock()); err != nil {
		t.Fatal(err)
	}
	if chain, err := d.Store.UseChain(t.Context(), l[1].ID); err != nil || len(chain) != 2 {
		t.Errorf("the chain of what stays is %v, %v", chain, err)
	}
	gone, cancel := context.WithCancelCause(t.Context())
	why := errors.New("interrupted")
	cancel(why)
	if err := d.Store.Parts().Uses.WhileDeciding(t.Context(), func() error {
		_, err := d.Store.UseChain(gone, l[1].ID)
		return err
	}); !errors.Is(err, why) {
		t.Errorf("while others decide: %v", err)
	}
}

// TestAMountedLayerShowsItsFiles with those below, and is given back.
func TestAMountedLayerShowsItsFiles(t *testing.T) {
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			d := storetest.Open(t, o)
			l := storetest.Stack(t, d, "", "a", "b")
			dir, unmount, err := d.Store.MountLayer(l[1].ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"a", "b"} {
				if text, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(text) != file {
					t.Errorf("%s has %q, %v", file, text, err)
				}
			}
			if err := unmount(); err != nil {
				t.Error(err)
			}
			if _, _, err := d.Store.MountLayer(nowhere); err == nil || !strings.Contains(err.Error(), nowhere) {
				t.Errorf("a layer that isn't there: %v", err)
			}
		})
	}
}

// TestTheBlobThatALayerCameAsIsTold only where its record is whole.
func TestTheBlobThatALayerCameAsIsTold(t *testing.T) {
	plain, packed := digest.FromString("plain"), digest.FromString("packed")
	whole := storage.Layer{ID: "id", Parent: "below", UncompressedDigest: plain, UncompressedSize: 7,
		CompressedDigest: packed, CompressedSize: 3, CompressionType: archive.Gzip, UIDs: []uint32{1}, GIDs: []uint32{2}}
	want := store.Layer{ID: "id", Parent: "below", DiffID: plain, Size: 7,
		Owners: &userns.IDs{UIDs: []uint32{1}, GIDs: []uint32{2}},
		Blob:   ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: packed, Size: 3}}
	if diff := cmp.Diff(want, store.FromStorage(&whole)); diff != "" {
		t.Error(diff)
	}
	for name, change := range map[string]func(*storage.Layer){
		"no size":           func(l *storage.Layer) { l.CompressedSize = 0 },
		"less than nothing": func(l *storage.Layer) { l.CompressedSize = -1 },
		"no digest":         func(l *storage.Layer) { l.CompressedDigest = "" },
		"a digest of none":  func(l *storage.Layer) { l.CompressedDigest = "sha256:00" },
		"not compressed":    func(l *storage.Layer) { l.CompressedDigest = plain },
		"another kind":      func(l *storage.Layer) { l.CompressionType = archive.Bzip2 },
	} {
		l := whole
		change(&l)
		if got := store.FromStorage(&l).Blob; got.Digest != "" || got.Size != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	half := whole
	half.GIDs = nil
	if got := store.FromStorage(&half).Owners; got != nil {
		t.Errorf("half of the owners: %+v", got)
	}
}

// TestOneOfManyMakesALayer and the others take it, whichever tool made it.
func TestOneOfManyMakesALayer(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	lib := library.Of(d.Store.Parts().Library)
	content := store.Content{DiffID: digest.FromString("content"), Disk: 5, Linked: true}
	create := func(id string) (*storage.Layer, error) { return lib.CreateLayer(id, "", nil, "", false, nil) }
	var mu sync.Mutex
	var group sync.WaitGroup
	count := map[bool]int{}
	for range 8 {
		group.Go(func() {
			l, made, err := d.Store.Commit(t.Context(), "", content, create)
			if err != nil || l.ID != content.DiffID.Encoded() {
				t.Errorf("%+v, %v", l, err)
			}
			mu.Lock()
			defer mu.Unlock()
			count[made]++
		})
	}
	group.Wait()
	if count[true] != 1 || count[false] != 7 {
		t.Errorf("made and taken: %v", count)
	}
	want := uses.Entry{Made: true, Size: 5, Measured: true, Linked: true}
	thing := uses.Thing{Kind: uses.Layers, Name: content.DiffID.Encoded()}
	if got := d.Store.Parts().Uses.Read(thing); got != want {
		t.Errorf("the note is %+v", got)
	}
}

// TestALayerThatCannotBeMadeIsAnError and one that another tool claims to have made, and hasn't.
func TestALayerThatCannotBeMadeIsAnError(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "vfs"}).Store
	content := store.Content{DiffID: digest.FromString("x")}
	broken := errors.New("broken")
	for given, want := range map[error]error{broken: broken, storage.ErrDuplicateID: store.ErrNoLayer} {
		_, made, err := s.Commit(t.Context(), "", content, func(string) (*storage.Layer, error) { return nil, given })
		if made || !errors.Is(err, want) {
			t.Errorf("%v: made %v, %v", given, made, err)
		}
	}
	unlock, err := s.LockCommit(t.Context(), content.DiffID.Encoded())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unlock() }()
	why := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, _, err := s.Commit(ctx, "", content, func(string) (*storage.Layer, error) {
		t.Error("it is made while another makes it")
		return nil, broken
	}); !errors.Is(err, why) {
		t.Errorf("while another makes it: %v", err)
	}
}

// TestAnInterruptedReadEndsWithTheCause and reads as before until then.
func TestAnInterruptedReadEndsWithTheCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r := store.Interruptible(ctx, iotest.OneByteReader(strings.NewReader("text")))
	buf := make([]byte, 2)
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "te" {
		t.Errorf("%q, %v", buf, err)
	}
	why := errors.New("interrupted")
	cancel(why)
	if n, err := r.Read(buf); n != 0 || !errors.Is(err, why) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := io.ReadAll(store.Interruptible(t.Context(), iotest.ErrReader(fmt.Errorf("x: %w", why)))); !errors.Is(err,
		why) {
		t.Errorf("the reader's own error is %v", err)
	}
}
