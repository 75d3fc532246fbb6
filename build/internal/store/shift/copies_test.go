package shift_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/shift"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/userns"
)

// owned makes a layer of files with these owners, and a link that leads out of it.
func owned(t *testing.T, d *depot.Depot, files map[string][2]int) store.Layer {
	t.Helper()
	l, _ := storetest.Commit(t, d, "", func(dir string) {
		for name, owner := range files {
			path := filepath.Join(dir, name)
			storetest.Write(t, path, name)
			if err := os.Chown(path, owner[0], owner[1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
			t.Fatal(err)
		}
	})
	return l
}

func stat(t *testing.T, path string) (st unix.Stat_t) {
	t.Helper()
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// left are what copies have left behind that isn't one.
func left(t *testing.T, d *depot.Depot) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(d.Store.Paths().Own, "tmp", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestACopyIsTheLayerWithOtherOwners in each kind of store, and nothing outside is touched.
func TestACopyIsTheLayerWithOtherOwners(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	storetest.Write(t, outside, "secret")
	before := stat(t, outside)
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			d := storetest.Open(t, o)
			l, _ := storetest.Commit(t, d, "", func(dir string) {
				storetest.Write(t, filepath.Join(dir, "suid"), "x")
				if err := errors.Join(os.Chown(filepath.Join(dir, "suid"), 3, 4), unix.Chmod(filepath.Join(dir, "suid"), 0o6755),
					os.Link(filepath.Join(dir, "suid"), filepath.Join(dir, "hard")),
					os.Symlink(outside, filepath.Join(dir, "out")), os.Mkdir(filepath.Join(dir, "d"), 0o700),
					os.Chown(filepath.Join(dir, "d"), 1, 2)); err != nil {
					t.Fatal(err)
				}
			})
			dir, err := shift.New(d.Store).Dir(t.Context(), l.ID, mapTo(100, 50))
			if err != nil {
				t.Fatal(err)
			}
			suid, hard := stat(t, filepath.Join(dir, "suid")), stat(t, filepath.Join(dir, "hard"))
			if suid.Uid != 103 || suid.Gid != 104 || suid.Mode&0o7777 != 0o6755 {
				t.Errorf("the file is %d:%d %o", suid.Uid, suid.Gid, suid.Mode)
			}
			if suid.Ino != hard.Ino {
				t.Error("its other name is another file")
			}
			if st := stat(t, filepath.Join(dir, "d")); st.Uid != 101 || st.Gid != 102 || st.Mode&0o7777 != 0o700 {
				t.Errorf("the directory is %d:%d %o", st.Uid, st.Gid, st.Mode)
			}
			if st := stat(t, filepath.Join(dir, "out")); st.Uid != 100 || st.Mode&unix.S_IFMT != unix.S_IFLNK {
				t.Errorf("the link is %d, %o", st.Uid, st.Mode)
			}
			if now := stat(t, outside); now.Uid != before.Uid || now.Ctim != before.Ctim {
				t.Error("the file that the link leads to was changed")
			}
			if _, got := storetest.List(t, d, l); got != l.DiffID {
				t.Errorf("the layer itself is %s then", got)
			}
		})
	}
}

// TestManyThatWantACopyGetTheSame which one of them makes.
func TestManyThatWantACopyGetTheSame(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	l := owned(t, d, map[string][2]int{"f": {1, 1}})
	var group sync.WaitGroup
	var mu sync.Mutex
	inodes := map[uint64]bool{}
	for range 8 {
		group.Go(func() {
			dir, err := shift.New(d.Store).Dir(t.Context(), l.ID, mapTo(5, 100))
			var st unix.Stat_t
			if err = errors.Join(err, unix.Lstat(filepath.Join(dir, "f"), &st)); err != nil || st.Uid != 6 {
				t.Errorf("%d, %v", st.Uid, err)
			}
			mu.Lock()
			defer mu.Unlock()
			inodes[st.Ino] = true
		})
	}
	group.Wait()
	if len(inodes) != 1 || len(left(t, d)) != 0 {
		t.Errorf("%d copies were made; left: %q", len(inodes), left(t, d))
	}
}

// TestACopyThatCannotBeMadeLeavesNothing that could be taken for one.
func TestACopyThatCannotBeMadeLeavesNothing(t *testing.T) {
	root := t.TempDir()
	d := storetest.Open(t, store.Options{Root: root, Driver: "overlay"})
	l := owned(t, d, map[string][2]int{"f": {1, 1}, "foreign": {200, 1}})
	room := shift.New(d.Store)
	_, err := room.Dir(t.Context(), l.ID, mapTo(5, 100))
	if !errors.Is(err, userns.ErrUnmapped) || !strings.Contains(err.Error(), "foreign") ||
		!strings.Contains(err.Error(), l.ID) {
		t.Errorf("an owner that isn't mapped: %v", err)
	}
	why := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := room.Dir(ctx, l.ID, mapTo(5, 300)); !errors.Is(err, why) {
		t.Errorf("an interrupted copy: %v", err)
	}
	if _, err := room.Dir(t.Context(), strings.Repeat("0", 64), mapTo(5, 300)); err == nil {
		t.Error("a layer that isn't there has a copy")
	}
	if made := copies(t, root); len(made)+len(left(t, d)) != 0 {
		t.Errorf("left: %q %q", made, left(t, d))
	}
	if dir, err := room.Dir(t.Context(), l.ID, mapTo(5, 300)); err != nil ||
		stat(t, filepath.Join(dir, "foreign")).Uid != 205 {
		t.Errorf("with a map for all: %q, %v", dir, err)
	}
}

// TestAListOfOwnersThatCannotBeReadIsMadeAnew as after a crash.
func TestAListOfOwnersThatCannotBeReadIsMadeAnew(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	l := owned(t, d, map[string][2]int{"f": {1, 2}})
	list := filepath.Join(d.Store.Paths().Own, "owners", l.ID)
	for _, text := range []string{"", "no JSON", `{"UIDs":"x"}`, "[]"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(list), 0o700), os.WriteFile(list, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		dir, err := shift.New(d.Store).Dir(t.Context(), l.ID, mapTo(5, 100))
		if err != nil || stat(t, filepath.Join(dir, "f")).Uid != 6 {
			t.Errorf("%q: %s, %v", text, dir, err)
		}
		if got, err := os.ReadFile(list); err != nil || string(got) == text {
			t.Errorf("%q: the list has %q, %v", text, got, err)
		}
	}
}

// TestTheOwnersOfALayerAreThoseOfItsFiles by its record, or by its archive.
func TestTheOwnersOfALayerAreThoseOfItsFiles(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	l := owned(t, d, map[string][2]int{"a": {3, 30}, "b": {4, 40}, "c": {3, 40}})
	room := shift.New(d.Store)
	want := userns.IDs{UIDs: []uint32{0, 3, 4}, GIDs: []uint32{0, 30, 40}}
	check := func(what string) {
		t.Helper()
		got, err := room.Owners(t.Context(), l.ID)
		slices.Sort(got.UIDs)
		slices.Sort(got.GIDs)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", what, err, diff)
		}
	}
	check("by its record")

	for id, want := range map[*userns.IDs]string{{UIDs: []uint32{4}}: "/b", {GIDs: []uint32{30}}: "/a",
		{UIDs: []uint32{99}}: ""} {
		if got, err := room.FileOf(t.Context(), l.ID, *id); got != want || err != nil {
			t.Errorf("a file of %v is %q, %v", *id, got, err)
		}
	}
	missing := strings.Repeat("0", 64)
	_, errOwners := room.Owners(t.Context(), missing)
	_, errFile := room.FileOf(t.Context(), missing, want)
	if !errors.Is(errOwners, store.ErrNoLayer) || !errors.Is(errFile, store.ErrNoLayer) {
		t.Errorf("a layer that isn't there: %v, %v", errOwners, errFile)
	}
	why := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := room.FileOf(ctx, l.ID, userns.IDs{UIDs: []uint32{99}}); !errors.Is(err, why) {
		t.Errorf("interrupted: %v", err)
	}

	// A record without owners is that of a layer which the library has made empty.
	empty, err := library.Of(d.Store.Parts().Library).CreateLayer(strings.Repeat("ab", 32), l.ID, nil, "", false,
		&storage.LayerOptions{IDMappingOptions: store.HostIDs()})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := room.Owners(t.Context(), empty.ID); err != nil || len(got.UIDs)+len(got.GIDs) != 0 {
		t.Errorf("an empty layer: %v, %v", got, err)
	}
}

// TestMapsAreToldApart by each of their numbers.
func TestMapsAreToldApart(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, ids := range []userns.Map{
		{{Host: 1, Length: 2}}, {{Host: 2, Length: 1}}, {{Host: 12}}, {{Container: 1, Host: 2}},
		{{Host: 1, Length: 1}, {Container: 1, Host: 5, Length: 1}},
		{{Host: 1, Length: 1}, {Container: 1, Host: 6, Length: 1}}, nil,
	} {
		for name, m := range map[string]userns.Mapping{"users": {UIDs: ids}, "groups": {GIDs: ids},
			"both": {UIDs: ids, GIDs: ids}} {
			if len(ids) == 0 && name != "both" {
				continue
			}
			text := fmt.Sprintf("%s %v", name, ids)
			if other, ok := seen[shift.MappingKey(m)]; ok {
				t.Errorf("%s has the key of %s", text, other)
			}
			seen[shift.MappingKey(m)] = text
		}
	}
	to, back := shift.ToDisk(mapTo(5, 10)), shift.ToImage(mapTo(5, 10))
	for _, id := range []uint32{0, 9} {
		there, err := to.UID(id)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := back.UID(there); err != nil || again != id || there != id+5 {
			t.Errorf("%d became %d and %d, %v", id, there, again, err)
		}
	}
	if _, err := to.GID(10); !errors.Is(err, userns.ErrUnmapped) {
		t.Errorf("an ID beyond the map: %v", err)
	}
}
