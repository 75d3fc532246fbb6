package userns_test

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/userns"
)

func TestTheCallerIsKnownInsideByTheEnvironment(t *testing.T) {
	uid, gid := userns.OwnIDs()
	if got := userns.CallingUser().ID; os.Getenv("_CONTAINERS_ROOTLESS_UID") == "" && got != uid {
		t.Errorf("the caller is %d, this process %d", got, uid)
	}
	want := []string{"_CONTAINERS_USERNS_CONFIGURED=done", fmt.Sprintf("_CONTAINERS_ROOTLESS_UID=%d", uid),
		fmt.Sprintf("_CONTAINERS_ROOTLESS_GID=%d", gid)}
	if got := userns.CallerEnv(); !slices.Equal(got, want) {
		t.Errorf("a process inside is told %q", got)
	}
	t.Setenv("_CONTAINERS_ROOTLESS_UID", "4000000123")
	t.Setenv("_CONTAINERS_ROOTLESS_GID", "77")
	p, err := userns.ThisProcess()
	if err != nil || p.Caller != (userns.User{ID: 4000000123}) {
		t.Errorf("the caller is %+v, %v", p.Caller, err)
	}
	if wantGID := map[bool]uint32{true: 77, false: gid}[p.Root]; p.GID != wantGID {
		t.Errorf("the caller's group is %d, want %d", p.GID, wantGID) // who isn't root is not inside
	}
	for _, odd := range []string{"", "-1", "4294967296", "root"} {
		t.Setenv("_CONTAINERS_ROOTLESS_UID", odd)
		if got := userns.CallingUser().ID; got != uid {
			t.Errorf("_CONTAINERS_ROOTLESS_UID=%s: the caller is %d", odd, got)
		}
	}
}

func TestAProcessInTheMachinesNamespaceHasNoMapOfItsOwn(t *testing.T) {
	t.Parallel()
	m := userns.Mapping{UIDs: mapOf(t, 0, 100000, 65536), GIDs: mapOf(t, 0, 100000, 65536)}
	if own := (userns.Process{Mapping: m, Initial: true}).Own(); own != nil {
		t.Errorf("its map is %v", own)
	}
	inside := userns.Process{Mapping: m}
	if own := inside.Own(); own == nil || !cmp.Equal(*own, m) {
		t.Errorf("inside the map is %v", own)
	}
	if f := inside.Finder(); f.Own == nil || (userns.Process{Initial: true}).Finder().Own != nil {
		t.Error("ranges are looked up in another namespace")
	}
}

func TestRootEntersANamespaceOfAllItsIDs(t *testing.T) {
	t.Parallel()
	p := userns.Process{Root: true, Mapping: userns.Mapping{UIDs: mapOf(t, 0, 100000, 1000),
		GIDs: mapOf(t, 0, 100000, 1000)}}
	m, _, err := p.Enters(t.Context())
	if err != nil || !cmp.Equal(m.UIDs, mapOf(t, 0, 0, 1000)) {
		t.Errorf("it enters %v, %v", m, err)
	}
}

func TestWhatIsResolvedForACaller(t *testing.T) {
	t.Parallel()
	here := userns.Mapping{UIDs: mapOf(t, 0, 100000, 1000), GIDs: mapOf(t, 0, 100000, 1000)}
	for name, test := range map[string]struct {
		process userns.Process
		outer   userns.Map
	}{
		"inside, where it may mount": {userns.Process{Root: true, Mounts: true, Mapping: here}, here.UIDs},
		"inside, where it may not":   {userns.Process{Root: true, Mapping: here}, mapOf(t, 0, 0, 1000)},
	} {
		test.process.Caller, test.process.GID = userns.User{ID: 1000}, 1001
		c, err := test.process.Resolving(t.Context(), userns.Finder{})
		if err != nil || c.Root || !c.Inside || c.UID != 1000 || c.GID != 1001 || !cmp.Equal(c.Outer.UIDs, test.outer) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	// The machine's root has no first namespace.
	machine := userns.Process{Root: true, Mounts: true, Initial: true}
	if c, _ := machine.Resolving(t.Context(), userns.Finder{}); !c.Root || len(c.Outer.UIDs) != 0 || c.Inside {
		t.Errorf("real root: %+v", c)
	}
}

func mapOf(t *testing.T, container, host, length uint32) userns.Map {
	t.Helper()
	m, err := userns.NewMap(userns.Range{Container: container, Host: host, Length: length})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
