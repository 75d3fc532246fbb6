package runstep_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/plan"
)

func cacheMount(id, target string) plan.Mount {
	return plan.Mount{
		Type: plan.MountCache, ID: id, Target: target, Source: "/", Mode: 0o755, Sharing: plan.SharingShared,
	}
}

func TestCacheMountsOfOneIDAreOneDirectory(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{}), b.busybox(t)
	twice := sh("echo text >/one/f; /busybox cat /two/f >/out", cacheMount("c", "/one"), cacheMount("c", "/two"))
	if got := b.out(t, r, base, twice); got != "text\n" {
		t.Errorf("the second mount has %q", got)
	}
	other := sh("/busybox ls /c >/out", cacheMount("other", "/c"))
	if got := b.out(t, r, base, other); got != "" {
		t.Errorf("a mount of another ID has %q", got)
	}
	if dirs := b.mountDirs(t); len(dirs) != 2 {
		t.Errorf("the store has %q", dirs)
	}
}

func TestACacheMountKeepsWhatAFailedStepHasWritten(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{}), b.busybox(t)
	b.fail(t, r, base, sh("echo half >/c/f; exit 1", cacheMount("c", "/c")))
	if got := b.out(t, r, base, sh("/busybox cp /c/f /out", cacheMount("c", "/c"))); got != "half\n" {
		t.Errorf("the next step sees %q", got)
	}
}

func TestAReadOnlyCacheMountCanNotBeWrittenTo(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	m := cacheMount("c", "/c")
	m.ReadOnly = true
	op := sh("(echo x >/c/f) 2>/out || true", m)
	if got := b.out(t, b.room(runstep.Options{}), b.busybox(t), op); !strings.Contains(got, "Read-only file system") {
		t.Errorf("the step is told %q", got)
	}
}

func TestACacheMountIsMadeForItsOwner(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{}), b.busybox(t)
	mine := cacheMount("c", "/c")
	mine.UID, mine.GID, mine.Mode, mine.Owned = 7, 8, 0o1700, true
	look := "/busybox stat -c '%u:%g %a' /c >/out"
	if got := b.out(t, r, base, sh(look, mine)); got != "7:8 1700\n" {
		t.Errorf("it is %q", got)
	}
	// Another owner's is another directory, and asking for what is usual is not asking for another one.
	usual := cacheMount("c", "/c")
	if got := b.out(t, r, base, sh(look, usual)); got != "0:0 755\n" {
		t.Errorf("the usual one is %q", got)
	}
	usual.Owned = true
	if b.out(t, r, base, sh(look+" #", usual)); len(b.mountDirs(t)) != 2 {
		t.Errorf("the store has %q", b.mountDirs(t))
	}
}

// stage is a root with a directory /d of 7:8 that has a file, and a file beside it.
func (b build) stage(t *testing.T, base *rootfs.Root) *rootfs.Root {
	t.Helper()
	return b.do(t, b.room(runstep.Options{}), base, sh(
		"/busybox mkdir /d; echo start >/d/f; echo outside >/beside; /busybox chown 7:8 /d /d/f; /busybox chmod 750 /d"))
}

func TestACacheMountStartsWithTheFilesOfAStage(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{}), b.busybox(t)
	stage := b.stage(t, base)
	m := cacheMount("c", "/c")
	m.From, m.Source = plan.Input{Kind: plan.InputStep, Step: &plan.Step{}}, "/d"
	done := func(*plan.Step) *rootfs.Root { return stage }
	run := func(op *plan.Run) string {
		return b.read(t, b.make(t, base, r.Work(&plan.Step{}, op, done)), "out")
	}
	got := run(sh("/busybox stat -c '%u:%g %a' /c /c/f >/out; /busybox ls /c >>/out; echo changed >/c/f", m))
	if got != "7:8 750\n7:8 600\nf\n" && got != "7:8 750\n7:8 644\nf\n" {
		t.Errorf("at first: %q", got)
	}
	if got = run(sh("/busybox cat /c/f >/out", m)); got != "changed\n" {
		t.Errorf("the second time it is filled again: %q", got)
	}
	m.Owned, m.Mode = true, 0o711
	if got = run(sh("/busybox stat -c '%u:%g %a' /c >/out", m)); got != "0:0 711\n" {
		t.Errorf("with an owner of its own: %q", got)
	}
	m.Source = "/nowhere"
	if _, _, err := b.roots.Make(t.Context(), &plan.Step{}, base, r.Work(&plan.Step{}, sh("true", m), done)); err == nil ||
		!strings.HasPrefix(err.Error(), "mount /c: ") {
		t.Errorf("what the stage hasn't got: %v", err)
	}
}

func TestACacheMountThatWasHalfMadeStartsAnew(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{}), b.busybox(t)
	b.do(t, r, base, sh("true", cacheMount("c", "/c")))
	dirs := b.mountDirs(t)
	if len(dirs) != 1 {
		t.Fatalf("the store has %q", dirs)
	}
	// As if the build that made it had been killed before all was there.
	if err := os.Remove(dirs[0] + ".made"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dirs[0], "left", "over"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := b.out(t, r, base, sh("/busybox ls /c >/out", cacheMount("c", "/c"))); got != "" {
		t.Errorf("the next step finds %q", got)
	}
}

func TestALockThatAStepHoldsOnASharedCacheKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{}), b.busybox(t)
	b.do(t, r, base, sh("true", cacheMount("c", "/c")))
	dir, err := os.Open(b.mountDirs(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	// As "flock /c COMMAND" of a step in another build does.
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_, _, err := b.roots.Make(ctx, &plan.Step{}, base, r.Work(&plan.Step{}, sh("true # again", cacheMount("c", "/c")),
			noStep))
		ended <- err
	}()
	// What goes on after the step, the commit, ends before the context does.
	if err := errors.Join(waitFor(t, ended), b.roots.Wait()); err != nil {
		t.Error(err)
	}
}

// inUse has another step or build use the first of the directories, until free is called or the test ends.
func (b build) inUse(t *testing.T) (free func()) {
	t.Helper()
	lock, err := os.Open(b.mountDirs(t)[0] + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
			t.Fatal(err)
		}
	}
}

func TestALockedCacheMountIsWaitedForUntilTheBuildIsCancelled(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	seen := &events{noted: make(chan string, 10)}
	b.roots.Progress = seen
	r, base := b.room(runstep.Options{}), b.busybox(t)
	m := cacheMount("c", "/c")
	m.Sharing = plan.SharingLocked
	b.do(t, r, base, sh("true", m))
	b.inUse(t)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, _, err := b.roots.Make(ctx, &plan.Step{}, base, r.Work(&plan.Step{}, sh("true # again", m), noStep))
		ended <- err
	}()
	note := waitFor(t, seen.noted)
	if note != "[1/1] waits for the cache mount id=c, which another step or build is using" {
		t.Errorf("it says %q", note)
	}
	cancel(why)
	if err := waitFor(t, ended); !errors.Is(err, why) || !strings.HasPrefix(err.Error(), "mount /c: ") {
		t.Errorf("it ends with %v", err)
	}
}

func TestAPrivateCacheMountTakesADirectoryThatNobodyUses(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{}), b.busybox(t)
	m := cacheMount("c", "/c")
	m.Sharing = plan.SharingPrivate
	b.do(t, r, base, sh("echo first >/c/f", m))
	free := b.inUse(t)
	if got := b.out(t, r, base, sh("/busybox ls /c >/out", m)); got != "" {
		t.Errorf("the one in use is taken: %q", got)
	}
	free()
	if got := b.out(t, r, base, sh("/busybox cat /c/f >/out", m)); got != "first\n" {
		t.Errorf("the first one isn't taken when it is free: %q", got)
	}
	if dirs := b.mountDirs(t); len(dirs) != 2 {
		t.Errorf("the store has %q", dirs)
	}
}

func TestStepsWithTheSameCacheMountsInAnyOrderDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{}), b.busybox(t)
	locked := func(id, target string) plan.Mount {
		m := cacheMount(id, target)
		m.Sharing = plan.SharingLocked
		return m
	}
	ended := make(chan error, 4)
	for i := range cap(ended) {
		mounts := []plan.Mount{locked("x", "/x"), locked("y", "/y"), locked("z", "/z")}
		if i%2 == 1 {
			mounts[0], mounts[2] = mounts[2], mounts[0]
		}
		op := sh("echo "+strings.Repeat("x", i)+" >>/x/log", mounts...)
		go func() {
			_, _, err := b.roots.Make(t.Context(), &plan.Step{}, base, r.Work(&plan.Step{}, op, noStep))
			ended <- err
		}()
	}
	for range cap(ended) {
		if err := waitFor(t, ended); err != nil {
			t.Error(err)
		}
	}
	if err := b.roots.Wait(); err != nil {
		t.Error(err)
	}
	if got := b.out(t, r, base, sh("/busybox wc -l </x/log >/out", locked("x", "/x"))); strings.TrimSpace(got) != "4" {
		t.Errorf("the log has %s lines", got)
	}
}

func TestTheStrictestSharingOfOneStepCounts(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	seen := &events{}
	b.roots.Progress = seen
	r, base := b.room(runstep.Options{}), b.busybox(t)
	shared, private := cacheMount("c", "/s"), cacheMount("c", "/p")
	private.Sharing = plan.SharingPrivate
	b.do(t, r, base, sh("true", shared))
	b.inUse(t)
	got := b.out(t, r, base, sh("echo x >/s/f; /busybox ls /p >/out", shared, private))
	if dirs := b.mountDirs(t); got != "f\n" || len(dirs) != 2 || strings.Contains(seen.text(), "waits") {
		t.Errorf("it has %q in %q; %s", got, dirs, seen.text())
	}
}

func TestAsRootACacheMountBelongsToTheStepsIDs(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	base := b.busybox(t)
	b.mapped(t)
	m := cacheMount("c", "/c")
	m.UID, m.GID, m.Owned = 7, 8, true
	op := sh("/busybox stat -c %u:%g /c >/out; echo x >/c/f; /busybox chown 9 /c/f", m)
	if got := b.out(t, b.room(runstep.Options{}), base, op); got != "7:8\n" {
		t.Errorf("the step sees %q", got)
	}
	dir := b.mountDirs(t)[0]
	if uid, gid, _ := owner(t, dir); uid != 7 || gid != 8 {
		t.Errorf("on disk it is of %d:%d", uid, gid)
	}
	if uid, _, _ := owner(t, filepath.Join(dir, "f")); uid != 9 {
		t.Errorf("the file is of %d", uid)
	}
	m.UID = 70000
	if got := b.fail(t, b.room(runstep.Options{}), base, sh("true", m)); !strings.Contains(got, "mount /c: ") ||
		!strings.Contains(got, "70000") {
		t.Errorf("an owner without a place: %s", got)
	}
}

// elsewhere has the content of cache mounts, each a file.
type elsewhere struct {
	files map[string]string
	// broken says that a mount is had in part only.
	broken bool
	used   []string
}

func (e *elsewhere) Fill(_ context.Context, _ cache.Key, id, dir string) bool {
	text, ok := e.files[id]
	if !ok {
		return false
	}
	return os.WriteFile(filepath.Join(dir, "f"), []byte(text), 0o600) == nil && os.Chmod(dir, 0o700) == nil && !e.broken
}

func (e *elsewhere) Used(_, _ cache.Key, number, id string) { e.used = append(e.used, id+" "+number) }

func TestACacheMountBeginsWithWhatOtherMachinesHave(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		from *elsewhere
		want string
	}{
		"whole":   {&elsewhere{files: map[string]string{"c": "theirs"}}, "theirs"},
		"in part": {&elsewhere{files: map[string]string{"c": "theirs"}, broken: true}, "none"},
		"another": {&elsewhere{files: map[string]string{"d": "theirs"}}, "none"},
	} {
		b := newBuild(t)
		r, base := b.room(runstep.Options{}), b.busybox(t)
		r.Mounts = c.from
		look := "/busybox cat /c/f >/out 2>/dev/null || echo -n none >/out"
		if got := b.out(t, r, base, sh(look, cacheMount("c", "/c"))); got != c.want {
			t.Errorf("%s: it has %q", what, got)
		}
		// What is there is not fetched anew.
		c.from.files = map[string]string{"c": "later"}
		if got := b.out(t, r, base, sh(look+" #", cacheMount("c", "/c"))); got != c.want {
			t.Errorf("%s: the second time it has %q", what, got)
		}
		if got := strings.Join(c.from.used, ","); got != "c 0,c 0" {
			t.Errorf("%s: used %s", what, got)
		}
	}
}
