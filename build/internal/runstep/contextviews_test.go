package runstep_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/plan"
)

// fromContext shows a part of the context, which a step can't write to.
func fromContext(source, target string) plan.Mount {
	return plan.Mount{Type: plan.MountBind, From: plan.Input{Kind: plan.InputContext}, Source: source, Target: target,
		ReadOnly: true}
}

func TestAStepSeesNothingThatTheIgnoreFileHides(t *testing.T) {
	t.Parallel()
	b := newBuild(t).withContext(t, map[string]string{
		".dockerignore": "secret\nsub/*\n!sub/kept\n**/*.tmp\n", "secret": "x", "a": "x", "sub/kept": "x", "sub/hidden": "x",
		"deep/er/b": "x", "deep/er/c.tmp": "x", "empty/": "", "empty/d.tmp": "x",
	})
	r, base := b.room(runstep.Options{}), b.busybox(t)
	list := "cd /ctx && /busybox find . | /busybox sort >/out"
	want := ". ./.dockerignore ./Dockerfile ./a ./deep ./deep/er ./deep/er/b ./empty ./sub ./sub/kept"
	for name, m := range map[string]plan.Mount{"read only": fromContext("/", "/ctx"), "writable": {
		Type: plan.MountBind, From: plan.Input{Kind: plan.InputContext}, Source: "/", Target: "/ctx"}} {
		if got := strings.Join(strings.Fields(b.out(t, r, base, sh(list, m))), " "); got != want {
			t.Errorf("%s: it sees %s", name, got)
		}
	}
	got := strings.Fields(b.out(t, r, base, sh(list, fromContext("/sub", "/ctx"))))
	if strings.Join(got, " ") != ". ./kept" {
		t.Errorf("of a directory it sees %q", got)
	}
	// What is hidden can't be asked for either.
	for _, source := range []string{"/secret", "/sub/hidden", "/nowhere"} {
		if err := b.fail(t, r, base, sh("true", fromContext(source, "/ctx"))); !strings.Contains(err, source[1:]) {
			t.Errorf("%s: %s", source, err)
		}
	}
}

func TestWhatAStepWritesToTheContextIsThrownAway(t *testing.T) {
	t.Parallel()
	b := newBuild(t).withContext(t, map[string]string{"a": "old", "sub/b": "old"})
	r, base := b.room(runstep.Options{}), b.busybox(t)
	all, file := fromContext("/", "/ctx"), fromContext("/a", "/file")
	all.ReadOnly, file.ReadOnly = false, false
	got := b.out(t, r, base,
		sh("cd /ctx; echo new >a; /busybox rm -r sub; echo more >c; /busybox ls . >/out; /busybox cat a >>/out",
			all))
	if got != "Dockerfile\na\nc\nnew\n" {
		t.Errorf("the step sees %q of what it wrote", got)
	}
	if got = b.out(t, r, base, sh("echo new >/file; /busybox cat /file >/out", file)); got != "new\n" {
		t.Errorf("of a single file it sees %q", got)
	}
	for name, want := range map[string]string{"a": "old", "sub/b": "old"} {
		if text, err := os.ReadFile(filepath.Join(b.context, name)); err != nil || string(text) != want {
			t.Errorf("the context has %s %q, %v", name, text, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(b.context, "c")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the context has c: %v", err)
	}
}

func TestTheContextIsOneOfRootOfTheStep(t *testing.T) {
	t.Parallel()
	first := newBuild(t)
	base := first.busybox(t)
	look := "/busybox stat -c '%u:%g' /ctx /ctx/a /ctx/sub/b >/out"
	for name, owners := range map[string][2]uint32{"root": {0, 0}, "another": {1234, 1234}, "two": {1234, 4321}} {
		b := first.withContext(t, map[string]string{"a": "x", "sub/b": "x"})
		for i, file := range []string{".", "Dockerfile", "sub", "a", "sub/b"} {
			id := int(owners[i%2])
			if err := os.Lchown(filepath.Join(b.context, file), id, id); err != nil {
				t.Fatal(err)
			}
		}
		r := b.room(runstep.Options{})
		if got := b.out(t, r, base, sh(look, fromContext("/", "/ctx"))); got != "0:0\n0:0\n0:0\n" {
			t.Errorf("%s: it sees %q", name, got)
		}
		if got := b.out(t, r, base, sh("/busybox stat -c '%u:%g' /f >/out", fromContext("/sub/b", "/f"))); got != "0:0\n" {
			t.Errorf("%s: a single file is %q", name, got)
		}
		if uid, _, _ := owner(t, filepath.Join(b.context, "a")); uid != owners[1] {
			t.Errorf("%s: the file is of %d now", name, uid)
		}
	}
}

func TestAsRootTheContextIsOneOfRootOfTheStepsNamespace(t *testing.T) {
	t.Parallel()
	first := newBuild(t)
	base := first.busybox(t)
	first.mapped(t)
	for name, owners := range map[string][2]int{"root": {0, 0}, "another": {1234, 1234}, "two": {1234, 4321}} {
		b := first.withContext(t, map[string]string{"a": "x", "b": "x", ".dockerignore": "hidden\n", "hidden": "x"})
		for i, file := range []string{".", "Dockerfile", ".dockerignore", "a", "b"} {
			if err := os.Lchown(filepath.Join(b.context, file), owners[i%2], owners[i%2]); err != nil {
				t.Fatal(err)
			}
		}
		m := fromContext("/", "/ctx")
		m.ReadOnly = false
		op := sh("/busybox stat -c '%u:%g' /ctx /ctx/a /ctx/b >/out; /busybox ls /ctx/hidden 2>>/out; echo x >/ctx/a", m)
		got := b.out(t, b.room(runstep.Options{}), base, op)
		if got != "0:0\n0:0\n0:0\nls: /ctx/hidden: No such file or directory\n" {
			t.Errorf("%s: it sees %q", name, got)
		}
	}
}

func TestModesOfTheContextAreThoseOfTheFiles(t *testing.T) {
	t.Parallel()
	b := newBuild(t).withContext(t, map[string]string{"dir/run": "x", ".dockerignore": "hidden", "hidden": "x"})
	for file, mode := range map[string]uint32{".": 0o700, "dir": 0o750, "dir/run": 0o755} {
		if err := unix.Chmod(filepath.Join(b.context, file), mode); err != nil {
			t.Fatal(err)
		}
	}
	r, base := b.room(runstep.Options{}), b.busybox(t)
	// That of the context itself is of no meaning: it is the user's own directory.
	got := b.out(t, r, base, sh("/busybox stat -c %a /ctx /ctx/dir /ctx/dir/run >/out", fromContext("/", "/ctx")))
	if got != "755\n750\n755\n" {
		t.Errorf("of all it sees %q", got)
	}
	got = b.out(t, r, base, sh("/busybox stat -c %a /ctx /ctx/run >/out", fromContext("/dir", "/ctx")))
	if got != "750\n755\n" {
		t.Errorf("of a directory it sees %q", got)
	}
}

func TestSocketsAndPipesOfTheContextAreOutOfReach(t *testing.T) {
	t.Parallel()
	b := newBuild(t).withContext(t, map[string]string{"sub/": ""})
	if err := unix.Mkfifo(filepath.Join(b.context, "sub/pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "unix", filepath.Join(b.context, "sub/socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	r, base := b.room(runstep.Options{}), b.busybox(t)
	for _, source := range []string{"/sub/pipe", "/sub/socket"} {
		got := b.fail(t, r, base, sh("true", fromContext(source, "/s")))
		if !strings.HasPrefix(got, "mount /s: ") || !strings.Contains(got, "neither a directory nor a regular file") {
			t.Errorf("%s: %s", source, got)
		}
	}
	// A writer of the host is there: a step that reached its pipe would read from it at once.
	pipe, err := os.OpenFile(filepath.Join(b.context, "sub/pipe"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if _, err := pipe.WriteString("of the host\n"); err != nil {
		t.Fatal(err)
	}
	got := b.out(t, r, base, sh("/busybox timeout 1 /busybox head -n 1 /ctx/pipe >/out; true",
		fromContext("/sub", "/ctx")))
	if got != "" {
		t.Errorf("the step has read %q", got)
	}
}

func TestSymlinksOfTheContextDoNotLeaveIt(t *testing.T) {
	t.Parallel()
	b := newBuild(t).withContext(t, map[string]string{"sub/a": "inside"})
	outside := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(outside, []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"out": outside, "up": "../../../../../../../.." + outside, "in": "sub/a",
		"dir": "/sub"} {
		if err := os.Symlink(target, filepath.Join(b.context, name)); err != nil {
			t.Fatal(err)
		}
	}
	r, base := b.room(runstep.Options{}), b.busybox(t)
	for _, source := range []string{"/out", "/up"} {
		if got := b.fail(t, r, base, sh("true", fromContext(source, "/f"))); strings.Contains(got, "outside") {
			t.Errorf("%s: %s", source, got)
		}
	}
	for source, file := range map[string]string{"/in": "/m", "/dir": "/m/a", "/dir/a": "/m"} {
		if got := b.out(t, r, base, sh("/busybox cat "+file+" >/out", fromContext(source, "/m"))); got != "inside" {
			t.Errorf("%s: %q", source, got)
		}
	}
}

func TestACopyOfTheContextIsSharedUntilThatChanges(t *testing.T) {
	t.Parallel()
	b := newBuild(t).withContext(t, map[string]string{"a": "first", "b": "x"})
	// Owners of two kinds have no place in one map, so the step gets a copy.
	for name, id := range map[string]int{"a": 1234, "b": 4321} {
		if err := os.Lchown(filepath.Join(b.context, name), id, id); err != nil {
			t.Fatal(err)
		}
	}
	r, base := b.room(runstep.Options{}), b.busybox(t)
	look := "/busybox cat /ctx/a >/out; /busybox stat -c ' %d %i' /ctx/a >>/out #"
	first := b.out(t, r, base, sh(look+"1", fromContext("/", "/ctx")))
	if again := b.out(t, r, base, sh(look+"2", fromContext("/", "/ctx"))); again != first {
		t.Errorf("another copy is made: %q, not %q", again, first)
	}
	b.write(t, "a", "second, and longer")
	if now := b.out(t, r, base, sh(look+"3", fromContext("/", "/ctx"))); !strings.HasPrefix(now, "second, and longer ") {
		t.Errorf("after a change the step sees %q", now)
	}
}

func TestAStageIsShownAsItIs(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{}), b.busybox(t)
	stage := b.stage(t, base)
	done := func(*plan.Step) *rootfs.Root { return stage }
	m := plan.Mount{Type: plan.MountBind, From: plan.Input{Kind: plan.InputStep, Step: &plan.Step{}}, Source: "/d",
		Target: "/m"}
	op := sh("/busybox stat -c '%u:%g %a' /m /m/f >/out; echo more >/m/f; echo new >/m/g", m)
	got := b.read(t, b.make(t, base, r.Work(&plan.Step{}, op, done)), "out")
	if !strings.HasPrefix(got, "7:8 750\n7:8 6") {
		t.Errorf("the step sees %q", got)
	}
	op = sh("/busybox ls /m >/out; /busybox cat /m/f >>/out", m)
	if got = b.read(t, b.make(t, base, r.Work(&plan.Step{}, op, done)), "out"); got != "f\nstart\n" {
		t.Errorf("what a step wrote to it is seen by the next one: %q", got)
	}
	empty := func(*plan.Step) *rootfs.Root { return rootfs.Scratch() }
	m.Source = "/"
	op = sh("/busybox ls -A /m >/out", m)
	if got = b.read(t, b.make(t, base, r.Work(&plan.Step{}, op, empty)), "out"); got != "" {
		t.Errorf("an empty stage has %q", got)
	}
}

func TestALookAtAContextCanBeCancelled(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 20 {
		files[fmt.Sprintf("d%d/f", i)] = ""
	}
	b := newBuild(t).withContext(t, files)
	base := b.busybox(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	_, _, err := b.roots.Make(ctx, &plan.Step{}, base,
		b.room(runstep.Options{}).Work(&plan.Step{}, sh("true", fromContext("/", "/ctx")), noStep))
	if !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
