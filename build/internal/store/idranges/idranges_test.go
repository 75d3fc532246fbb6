package idranges_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/idranges"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/userns"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// autoOptions choose from 5000 IDs.
func autoOptions() userns.AutoOptions {
	ids := []userns.SubIDRange{{Start: 100, Count: 5000}}
	return userns.AutoOptions{Available: userns.SubIDs{UIDs: ids, GIDs: ids}}
}

// add chooses so many IDs and gives the first.
func add(t *testing.T, r *idranges.Ranges, size uint32) uint32 {
	t.Helper()
	m, err := r.Add(t.Context(), func(used []userns.Mapping) (userns.Mapping, error) {
		return autoOptions().Allocate(size,
			used)
	})
	if err != nil {
		t.Error(err)
		return 0
	}
	return m.UIDs[0].Host
}

func begin(t *testing.T, s *depot.Depot) *idranges.Ranges {
	t.Helper()
	r, err := idranges.New(s.Store).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRangesOfBuildsDoNotOverlap(t *testing.T) {
	root := t.TempDir()
	s := storetest.Open(t, store.Options{Driver: "vfs", Root: root})
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := map[uint32]bool{}
	all := make([]*idranges.Ranges, 50)
	for i := range all {
		all[i] = begin(t, s)
		wg.Go(func() {
			from := add(t, all[i], 100)
			mu.Lock()
			defer mu.Unlock()
			if taken[from] || from%100 != 0 {
				t.Errorf("%d is taken", from)
			}
			taken[from] = true
		})
	}
	wg.Wait()
	for _, r := range all {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(root, "cooper/userns")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestRangesOfOneBuildMayOverlap(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "vfs"})
	one, two := begin(t, s), begin(t, s)
	got := []uint32{add(t, one, 1000), add(t, one, 2000), add(t, two, 1000), add(t, one, 1500)}
	if diff := cmp.Diff([]uint32{100, 100, 2100, 100}, got); diff != "" {
		t.Error(diff)
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	if from := add(t, two, 1000); from != 100 {
		t.Errorf("what was given back is not free: %d", from)
	}
	if err := two.Close(); err != nil {
		t.Error(err)
	}
}

func TestRangesOfDeadBuildsAreFree(t *testing.T) {
	root := t.TempDir()
	s := storetest.Open(t, store.Options{Driver: "vfs", Root: root})
	one := begin(t, s)
	add(t, one, 1000)
	dir := filepath.Join(root, "cooper/userns")
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, names[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	// The file of a killed build is there, and nobody has it locked.
	for _, stale := range []string{string(text), "", "[{"} {
		if err := os.WriteFile(filepath.Join(dir, "dead"), []byte(stale), 0o600); err != nil {
			t.Fatal(err)
		}
		two := begin(t, s)
		if from := add(t, two, 1000); from != 100 {
			t.Errorf("the range of a dead build is not free: %d", from)
		}
		if err := two.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}

// TestWhatCanNotBeChosenIsNotRecorded, nor is what a choice that failed has seen.
func TestWhatCanNotBeChosenIsNotRecorded(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "vfs"})
	one, two := begin(t, s), begin(t, s)
	full := errors.New("all IDs are taken")
	if _, err := one.Add(t.Context(), func([]userns.Mapping) (userns.Mapping, error) {
		return userns.Mapping{}, full
	}); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if from := add(t, two, 1000); from != 100 {
		t.Errorf("the first that are free are %d", from)
	}
	if err := errors.Join(one.Close(), two.Close()); err != nil {
		t.Error(err)
	}
}

// TestTheRangesOfContainersAreTaken whoever runs them.
func TestTheRangesOfContainersAreTaken(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "vfs-containers")
	list := `[{"id":"a","layer":"x","uidmap":[{"container_id":0,"host_id":100,"size":1000}],"gidmap":[{"container_id":0,"host_id":100,"size":1000}]},{"id":"b","layer":"y"}]`
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "containers.json"), []byte(list),
		0o600)); err != nil {
		t.Fatal(err)
	}
	s := storetest.Open(t, store.Options{Driver: "vfs", Root: root})
	one := begin(t, s)
	if from := add(t, one, 1000); from != 1100 {
		t.Errorf("beside a container's range the first free ID is %d", from)
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
}

// TestARecordOfARunningBuildThatIsDamagedIsTold: nobody knows which IDs it has.
func TestARecordOfARunningBuildThatIsDamagedIsTold(t *testing.T) {
	root := t.TempDir()
	s := storetest.Open(t, store.Options{Driver: "vfs", Root: root})
	one, two := begin(t, s), begin(t, s)
	add(t, one, 1000)
	names, err := filepath.Glob(filepath.Join(root, "cooper/userns/*"))
	if err != nil || len(names) != 2 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Size() > 0 {
			if err := os.Truncate(name, 5); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err = two.Add(t.Context(), func([]userns.Mapping) (userns.Mapping, error) { return userns.Mapping{}, nil })
	if err == nil || !strings.HasPrefix(err.Error(), "read ranges of IDs: ") {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(one.Close(), two.Close()); err != nil {
		t.Error(err)
	}
}

func TestTheRecordsOfDeadBuildsAreSweptAway(t *testing.T) {
	root := t.TempDir()
	s := storetest.Open(t, store.Options{Driver: "vfs", Root: root})
	r, dir := idranges.New(s.Store), filepath.Join(root, "cooper/userns")
	if err := r.Sweep(t.Context()); err != nil {
		t.Errorf("without any build: %v", err)
	}
	live := begin(t, s)
	if err := os.WriteFile(filepath.Join(dir, "dead"), []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() == "dead" {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := live.Close(); err != nil {
		t.Error(err)
	}
}
