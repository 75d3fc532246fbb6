package snapshot_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/executor"
)

// ways runs a test in one store of each way to make layers that needs no program, on the layer of makeBase.
func ways(t *testing.T, f func(t *testing.T, b bench, base []store.Layer)) {
	t.Helper()
	for name, o := range map[string]store.Options{
		"rename": {Driver: "overlay"}, "archive": {Driver: "overlay", Portable: true}, "trees": {Driver: "vfs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.Root = t.TempDir()
			b := newBench(t, o)
			base, err := makeBase(t.Context(), b.room)
			if err != nil {
				t.Fatal(err)
			}
			f(t, b, []store.Layer{base})
		})
	}
}

// unfinished is what a room has in the store for what has not become a layer.
func (b bench) unfinished() (all []string) {
	b.t.Helper()
	all, err := filepath.Glob(filepath.Join(b.st.Paths().Own, "tmp", "*"))
	b.must(err)
	return all
}

// opened is how many descriptors of files of the store this process has.
func (b bench) opened() (all []string) {
	b.t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	b.must(err)
	for _, e := range entries {
		path, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && strings.HasPrefix(path, b.st.Paths().Root) && !strings.HasSuffix(path, "lock") {
			all = append(all, path)
		}
	}
	return all
}

func TestTheWayOfAStoreIsTold(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, b bench, _ []store.Layer) {
		want := "driver"
		if strings.HasSuffix(t.Name(), "/rename") {
			want = snapshot.ByRename
		}
		if got := b.room.Way(); got != want {
			t.Errorf("it is %q, want %q", got, want)
		}
	})
}

// TestALayerThatIsNotThereIsAnError whatever is to be made of it, and nothing is left of that.
func TestALayerThatIsNotThereIsAnError(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, b bench, base []store.Layer) {
		none := store.Layer{ID: strings.Repeat("0", 64), DiffID: digest.FromString("none")}
		ids := []string{none.ID}
		chains, before := b.room.Chains(), b.opened()
		for name, call := range map[string]func() error{
			"a snapshot on it": func() error {
				s, err := b.room.Prepare(t.Context(), snapshot.Layers(ids))
				if err == nil {
					err = errors.Join(b.try(s, snapshot.NS{}, true, func(string) {}), s.Remove())
				}
				return err
			},
			"a view": func() error {
				v, err := b.room.View(t.Context(), snapshot.Layers(ids), snapshot.NS{})
				if err == nil {
					err = v.Release()
				}
				return err
			},
			"a view with other owners": func() error {
				_, err := b.room.View(t.Context(), snapshot.Layers(ids), shifted())
				return err
			},
			"merged": func() error {
				_, _, err := chains.Merge(t.Context(), base[0].ID, ids, snapshot.ReadOptions{})
				return err
			},
			"squashed": func() error {
				_, _, err := chains.Squash(t.Context(), []string{base[0].ID}, ids, snapshot.ReadOptions{})
				return err
			},
			"squashed on it": func() error {
				_, _, err := chains.Squash(t.Context(), ids, []string{base[0].ID}, snapshot.ReadOptions{})
				return err
			},
			"put on another": func() error {
				_, err := chains.PutOn(t.Context(), base[0].ID, none, snapshot.ReadOptions{})
				return err
			},
			"another put on it": func() error {
				_, err := chains.PutOn(t.Context(), none.ID, base[0], snapshot.ReadOptions{})
				return err
			},
			"rechained": func() error {
				_, err := chains.Rechain(t.Context(), []store.Layer{none})
				return err
			},
			"rechained without a room": func() error {
				_, err := snapshot.Rechainer{Store: b.st}.Rechain(t.Context(), []store.Layer{none})
				return err
			},
			"looked for": func() error { return b.room.CheckStill(none.ID) },
		} {
			// so that the build begins again
			// So that the build begins again, as with Unknown.
			if err := call(); !store.Unknown(err) && !errors.As(err, new(*snapshot.GoneError)) &&
				(name != "merged" || !errors.Is(err, snapshot.ErrNoMerge)) {
				t.Errorf("%s: %v", name, err)
			}
		}
		gone := new(snapshot.GoneError)
		if err := b.room.CheckStill(none.ID); !errors.As(err, &gone) || gone.Layer != none.ID ||
			err.Error() != "another program has removed layer 000000000000 from the store, or its image, while the build used it\nhint: build again" {
			t.Errorf("it is told as %v", err)
		}
		b.must(b.room.Close())
		if left, after := b.unfinished(), b.opened(); len(left) > 0 || len(after) > len(before) {
			t.Errorf("left: %q; open: %q, it was %q", left, after, before)
		}
	})
}

// TestALayerThatLostItsDirectoryIsTold: the library still has it in its list.
func TestALayerThatLostItsDirectoryIsTold(t *testing.T) {
	t.Parallel()
	b := newBench(t, store.Options{Driver: "overlay", Root: t.TempDir()})
	base, err := makeBase(t.Context(), b.room)
	b.must(err, b.room.Close())
	dir, err := b.st.DiffDir(base.ID)
	b.must(err, os.Rename(dir, dir+".away"))
	gone := new(snapshot.GoneError)
	if _, err := b.room.Prepare(t.Context(), snapshot.Layers{base.ID}); !errors.As(err, &gone) || gone.Layer != base.ID {
		t.Errorf("a snapshot on it: %v", err)
	}
	b.must(os.Rename(dir+".away", dir))
	b.prepare(snapshot.Layers{base.ID})
	// Another directory in its place has other files, though it has the same name.
	b.must(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o755))
	if err := b.room.CheckStill(base.ID); !errors.As(err, &gone) {
		t.Errorf("another directory in its place: %v", err)
	}
	b.must(os.Remove(dir), os.Rename(dir+".away", dir), b.room.CheckStill(base.ID))
}

// foreign makes a layer under an ID that cooper doesn't give, of an archive as another program writes it.
func (b bench) foreign(name string, archive []byte) store.Layer {
	b.t.Helper()
	l, err := library.Of(b.st.Parts().Library).PutLayer(digest.FromString(name).Encoded(), "", nil, "", false,
		&storage.LayerOptions{IDMappingOptions: store.HostIDs()}, bytes.NewReader(archive))
	b.must(err)
	return store.Layer{ID: l.ID, DiffID: digest.FromBytes(archive), Size: int64(len(archive))}
}

// otherArchive is one that cooper wouldn't write so: in GNU's format, in another order, and with something behind.
func otherArchive(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range []string{"z", "a", "d/", "d/x"} {
		h := tar.Header{Name: name, Mode: 0o640, Uid: 3, Gid: 4, ModTime: time.Unix(1, 0), Format: tar.FormatGNU,
			Uname: "somebody"}
		text := []byte("text of " + name)
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode, text = tar.TypeDir, 0o750, nil
		}
		h.Size = int64(len(text))
		err := w.WriteHeader(&h)
		_, written := w.Write(text)
		if err := errors.Join(err, written); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), make([]byte, 3000)...)
}

// TestAnArchiveOfAnotherProgramStaysTheSame when its layer gets another ID: one made of its files would be another one.
func TestAnArchiveOfAnotherProgramStaysTheSame(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, b bench, _ []store.Layer) {
		archive := otherArchive(t)
		old := b.foreign("odd", archive)
		chain, err := b.room.Chains().Rechain(t.Context(), []store.Layer{old})
		b.must(err)
		if len(chain) != 1 || chain[0].ID != store.LayerID("", old.DiffID) || chain[0].ID == old.ID {
			t.Fatalf("it becomes %+v", chain)
		}
		if got := b.archive(chain[0]); !bytes.Equal(got, archive) {
			t.Errorf("%d bytes have become %d", len(archive), len(got))
		}
		again, err := snapshot.Rechainer{Store: b.st}.Rechain(t.Context(), []store.Layer{old})
		b.must(err, b.room.Close())
		if len(again) != 1 || again[0].ID != chain[0].ID || len(b.unfinished()) > 0 {
			t.Errorf("the second time it becomes %+v; left: %q", again, b.unfinished())
		}
	})
}

// TestADamagedLayerIsNotCopied has a file of a layer change on the disk.
func TestADamagedLayerIsNotCopied(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, b bench, _ []store.Layer) {
		old := b.foreign("odd", otherArchive(t))
		dir, unmount, err := b.st.MountLayer(old.ID)
		b.must(err)
		b.must(unmount())
		if b.st.Driver() == "overlay" {
			dir, err = b.st.DiffDir(old.ID)
			b.must(err)
		}
		b.must(os.WriteFile(filepath.Join(dir, "a"), []byte("text 0f a"), 0o640))
		chain, err := b.room.Chains().Rechain(t.Context(), []store.Layer{old})
		if err == nil || !strings.HasPrefix(err.Error(), "put layer "+old.ID+" under the ID that other tools give it: ") {
			t.Errorf("%+v, %v", chain, err)
		}
		b.must(b.room.Close())
		if left := b.unfinished(); len(left) > 0 || b.st.HasLayer(store.LayerID("", old.DiffID)) {
			t.Errorf("left: %q", left)
		}
	})
}

// TestManyStepsShareARoom with the layers that they are made on, and give back all of it.
func TestManyStepsShareARoom(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, b bench, base []store.Layer) {
		b.must(b.room.Close())
		before := b.opened()
		var group sync.WaitGroup
		made := make([]store.Layer, 12)
		for i := range made {
			group.Go(func() {
				name := fmt.Sprintf("f%d", i/2) // each is made twice
				s, err := b.room.Prepare(t.Context(), on(base))
				if err != nil {
					t.Error(err)
					return
				}
				dir, _ := s.Files()
				err = put(dir, name, i/2, i/2)
				if err == nil {
					_, err = s.Read(t.Context(), snapshot.ReadOptions{})
				}
				if err == nil {
					made[i], err = s.Commit(t.Context(), top(base))
				}
				if err := errors.Join(err, s.Remove()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for i := 0; i < len(made); i += 2 {
			if made[i].ID != made[i+1].ID || i > 0 && made[i].ID == made[i-1].ID {
				t.Errorf("%d: %s and %s", i, made[i].ID, made[i+1].ID)
			}
		}
		b.must(b.room.Close(), b.room.Close())
		if after := b.opened(); len(after) > len(before) || len(b.unfinished()) > 0 {
			t.Errorf("open: %q, it was %q; left: %q", after, before, b.unfinished())
		}
	})
}

// TestAStepThatFailsTellsItsErrorAlone, with the owners of the image and with others.
func TestAStepThatFailsTellsItsErrorAlone(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, b bench, base []store.Layer) {
		failed := errors.New("exit status 3")
		for _, ns := range []snapshot.NS{{}, shifted()} {
			s := b.prepare(on(base))
			err := s.InNamespace(t.Context(), ns, func(executor.Rootfs) (bool, error) { return false, failed })
			if !errors.Is(err, failed) || err.Error() != failed.Error() {
				t.Errorf("shifted %v: %v", ns.Shifted, err)
			}
			b.must(s.Remove())
		}
		b.view(on(base), snapshot.NS{}, func(dir string) {
			if got := b.owner(filepath.Join(dir, "b")); got != "7:8" {
				t.Errorf("below, a file is of %s", got)
			}
		})
	})
}

// TestWhatWaitsForALayerEndsWithItsContext has one below that is never committed.
func TestWhatWaitsForALayerEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, b bench, base []store.Layer) {
		never := &pending{layers: []string{top(base), strings.Repeat("0", 64)}, done: make(chan struct{})}
		why := errors.New("the user has enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if _, err := b.room.View(ctx, never, shifted()); !errors.Is(err, why) {
			t.Errorf("a view with other owners: %v", err)
		}
		if b.room.Way() == snapshot.ByRename {
			return
		}
		if _, err := b.room.View(ctx, never, snapshot.NS{}); !errors.Is(err, why) {
			t.Errorf("a view: %v", err)
		}
		if _, err := b.room.Prepare(ctx, never); !errors.Is(err, why) {
			t.Errorf("a snapshot: %v", err)
		}
	})
}

// TestLayersThatLeaveNothingMakeNoLayer has a file that comes and goes.
func TestLayersThatLeaveNothingMakeNoLayer(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, b bench, base []store.Layer) {
		all := b.add(base, func(root string) { b.must(put(root, "brief", 1, 2), settle(root)) })
		all = b.add(all, func(root string) { b.must(os.Remove(filepath.Join(root, "brief")), settle(root)) })
		made, res, err := b.room.Chains().Squash(t.Context(), []string{base[0].ID}, []string{all[1].ID, all[2].ID},
			snapshot.ReadOptions{})
		if err != nil || !res.Empty || made.ID != "" {
			t.Errorf("%+v of %+v, %v", made, res, err)
		}
		// What the two layers are in the way of is as it was.
		if diff := cmp.Diff([]string{".wh.brief 0:0"}, b.entries(all[2])); diff != "" {
			t.Error(diff)
		}
	})
}

// TestTheRootDirectoryIsHandedOn to what is made on a layer, and a linked layer takes over that of its new parent.
func TestTheRootDirectoryIsHandedOn(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, b bench, base []store.Layer) {
		other := b.add(base, func(root string) { b.must(os.Chmod(root, 0o711), os.Chown(root, 3, 4)) })
		if diff := cmp.Diff([]string{"./ 3:4"}, b.entries(other[1])); diff != "" {
			t.Errorf("who changes it has it in the layer: %s", diff)
		}
		next := b.add(other, func(root string) { b.must(put(root, "f", 0, 0)) })
		if diff := cmp.Diff([]string{"f 0:0"}, b.entries(next[2])); diff != "" {
			t.Errorf("who doesn't, hasn't: %s", diff)
		}
		s, err := b.room.PrepareAlone(t.Context(), on(base))
		b.must(err)
		dir, _ := s.Files()
		b.must(put(dir, "linked", 5, 6))
		l, _ := b.commit(s, top(base))
		b.must(s.Remove())
		moved, err := b.room.Chains().PutOn(t.Context(), other[1].ID, l, snapshot.ReadOptions{})
		b.must(err)
		squashed, _, err := b.room.Chains().Squash(t.Context(), []string{base[0].ID}, []string{other[1].ID, next[2].ID},
			snapshot.ReadOptions{})
		b.must(err)
		whole := []snapshot.Layers{
			on(other), on(next), append(on(other), moved.ID), append(on(base), squashed.ID),
		}
		// The same archive under another ID: what it says of the root holds.
		old := b.foreign("odd", b.archive(other[1]))
		chain, err := b.room.Chains().Rechain(t.Context(), []store.Layer{base[0], old})
		b.must(err)
		for i, layers := range append(whole, on(chain)) {
			b.view(layers, snapshot.NS{}, func(dir string) {
				info, err := os.Stat(dir)
				b.must(err)
				// The driver overlay gives the root directory of each layer that it mounts to root.
				driver := strings.HasSuffix(t.Name(), "/archive")
				if got := b.owner(dir + "/."); got != "3:4" && !driver || info.Mode().Perm() != 0o711 {
					t.Errorf("%d: the root is of %s, %v", i, got, info.Mode())
				}
			})
		}
	})
}
