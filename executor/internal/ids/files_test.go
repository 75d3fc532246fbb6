package ids_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/ids"
	"github.com/cooperbuild/cooper/executor/step"
)

func TestOwnersAreShiftedOnceOnTheWay(t *testing.T) {
	tests := map[string]struct {
		step       step.Step
		disk, host ids.Pair
		idMapped   bool
	}{
		"caller's namespace": {step.Step{}, ids.Pair{UID: 5, GID: 6}, ids.Pair{UID: 5, GID: 6}, false},
		"ID-mapped": {step.Step{Mapping: thousand()}, ids.Pair{UID: 5, GID: 6}, ids.Pair{UID: 2005, GID: 2006},
			true},
		"shifted on disk": {
			step.Step{Mapping: thousand(), Shifted: true}, ids.Pair{UID: 2005, GID: 2006}, ids.Pair{UID: 2005, GID: 2006},
			false,
		},
		"not in the map": {step.Step{Mapping: thousand()}, ids.Pair{UID: 5, GID: 9000}, ids.Pair{UID: 5, GID: 9000}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n := namespace(t, test.step)
			if got := n.Host(test.disk.UID, test.disk.GID); got != test.host {
				t.Errorf("%v on disk is shown as %v, want %v", test.disk, got, test.host)
			}
			if got := n.OnDisk(test.host); got != test.disk {
				t.Errorf("%v is %v on disk, want %v", test.host, got, test.disk)
			}
			if (n.DiskMap() != nil) != test.idMapped || (n.DiskNS() != nil) != test.idMapped {
				t.Errorf("ID-mapped: %v, %v", n.DiskMap(), n.DiskNS())
			}
		})
	}
}

func TestOwnersInMemory(t *testing.T) {
	tests := map[string]struct {
		step     step.Step
		uid, gid uint32
		want     ids.Pair
		refused  bool
	}{
		"root of the caller": {step.Step{}, 0, 0, ids.Pair{}, false},
		"user of the caller": {step.Step{}, 7, 8, ids.Pair{UID: 7, GID: 8}, false},
		"root of a map":      {step.Step{Mapping: thousand()}, 0, 0, ids.Pair{UID: 2000, GID: 2000}, false},
		"user of a map":      {step.Step{Mapping: thousand()}, 7, 0, ids.Pair{UID: 2007, GID: 2000}, false},
		"user of files shifted too": {step.Step{Mapping: thousand(), Shifted: true}, 7, 8, ids.Pair{UID: 2007, GID: 2008},
			false},
		"user left out": {step.Step{Mapping: thousand()}, 1000, 0, ids.Pair{}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := namespace(t, test.step).InMemory(test.uid, test.gid)
			if got != test.want || (err != nil) != test.refused {
				t.Errorf("got %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

// Files that are made as the container's root, or as the owner of mount points, have that owner.
func TestWhoMakesFiles(t *testing.T) {
	tests := map[string]struct {
		step           step.Step
		asRoot, asStub uint32
	}{
		"caller's namespace": {step.Step{}, 0, 0},
		"ID-mapped":          {step.Step{Mapping: thousand()}, 2000, 0},
		"shifted on disk":    {step.Step{Mapping: thousand(), Shifted: true}, 2000, 2000},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n, dir := namespace(t, test.step), t.TempDir()
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			for as, want := range map[string]uint32{"root": test.asRoot, "stub": test.asStub} {
				file := filepath.Join(dir, as)
				do := n.AsRoot
				if as == "stub" {
					do = n.AsStubOwner
				}
				if err := do(func() error { return os.WriteFile(file, nil, 0o600) }); err != nil {
					t.Fatal(err)
				}
				var st unix.Stat_t
				if err := unix.Stat(file, &st); err != nil || st.Uid != want {
					t.Errorf("%s: the owner is %d (%v), want %d", as, st.Uid, err, want)
				}
			}
		})
	}
}
