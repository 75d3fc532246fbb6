package runstep_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
)

func TestEveryStepSeesTheVolumes(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	base, dir := b.busybox(t), t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("host\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := b.room(runstep.Options{Volumes: []runstep.Volume{
		{Source: dir, Target: "/rw"}, {Source: dir, Target: "/ro", ReadOnly: true},
		{Source: file, Target: "/file", ReadOnly: true},
		{Source: dir, Target: "/gone", Discard: true}, {Source: dir, Target: "/both", Discard: true, ReadOnly: true},
	}})
	got := b.out(t, r, base, sh(`
		for f in /rw/f /ro/f /file /gone/f /both/f; do /busybox cat $f >>/out; done
		echo kept >/rw/kept; echo thrown away >/gone/lost; /busybox rm /gone/f
		for f in /ro/x /both/x; do (echo x >$f) 2>/dev/null && echo wrote $f >>/out; done
		/busybox ls /gone >>/out`))
	if got != strings.Repeat("host\n", 5)+"kept\nlost\n" {
		t.Errorf("the step sees %q", got)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 2 || names[0].Name() != "f" || names[1].Name() != "kept" {
		t.Errorf("the host has %v, %v", names, err)
	}
}

func TestAVolumeThatIsNotThereIsNamed(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	base := b.busybox(t)
	for source, want := range map[string]string{
		filepath.Join(t.TempDir(), "none"): "no such file or directory", "/dev/null/x": "not a directory",
	} {
		r := b.room(runstep.Options{Volumes: []runstep.Volume{{Source: source, Target: "/v"}}})
		got := b.fail(t, r, base, sh("true"))
		if !strings.HasPrefix(got, "volume "+source+":/v: ") || !strings.Contains(got, want) {
			t.Errorf("%s: %s", source, got)
		}
	}
}

func TestAsRootAVolumeHasItsOwnersUnlessToldToMapThem(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	base, dir := b.busybox(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	b.mapped(t)
	r := b.room(runstep.Options{Volumes: []runstep.Volume{
		{Source: dir, Target: "/plain"}, {Source: dir, Target: "/mapped", MapOwners: true},
	}})
	got := b.out(t, r, base, sh("/busybox stat -c %u /plain/f /mapped/f >/out; echo >/plain/a; echo >/mapped/b"))
	if got != "65534\n0\n" {
		t.Errorf("the step sees %q", got)
	}
	for name, want := range map[string]uint32{"a": 200000, "b": 0} {
		if uid, _, _ := owner(t, filepath.Join(dir, name)); uid != want {
			t.Errorf("%s is of %d on the host", name, uid)
		}
	}
}

func TestOnlyRealRootMapsTheOwnersOfAVolume(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	base := b.busybox(t)
	outer := b.mapped(t)
	nested := nestedIDs()
	// As in the namespace of an ordinary user.
	b.as(t, rootfs.Identity{Process: &outer, StepNS: rootfs.StepNS{Steps: &nested, Asked: true}})
	r := b.room(runstep.Options{Volumes: []runstep.Volume{{Source: t.TempDir(), Target: "/v", MapOwners: true}}})
	if got := b.fail(t, r, base, sh("true")); !strings.Contains(got, "the option idmap is for real root") {
		t.Error(got)
	}
}
