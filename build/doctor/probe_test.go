package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// look probes a store whose directory is root, as a process that stays where it is.
func look(t *testing.T, ctx context.Context, root string) Facts { //nolint:revive // the test is more to the point
	t.Helper()
	who, err := userns.ThisProcess()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(root, "overlay"), unix.MNT_DETACH) })
	return Probe(ctx, Options{Process: who, Stays: true, Store: store.Options{Root: root, RunRoot: root + "-run",
		Driver: "overlay"}})
}

func TestAsRootAMachineThatWorksIsFoundToWorkAndLeftAsItWas(t *testing.T) {
	parent := t.TempDir()
	f := look(t, t.Context(), filepath.Join(parent, "new", "store"))
	in := inside(f)
	for name, o := range map[string]Outcome{"a namespace": f.Bare, "setgroups": in.Setgroups, "overlay": in.Overlay,
		"proc":    in.Proc,
		"seccomp": in.Seccomp, "store": in.Store, "a step": in.Step} {
		if !o.OK() {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if in.Driver != "overlay" || !in.Renames || in.IDMapOn == "" || f.Disk.Exists ||
		f.Disk.Root != filepath.Join(parent, "new", "store") {
		t.Errorf("inside %+v, disk %+v", in, f.Disk)
	}
	if r := Evaluate(f); !r.Works || r.Mode == "" || r.Driver != "overlay" || r.Commit != "rename" {
		t.Errorf("%+v", r)
	}
	if left, err := os.ReadDir(parent); len(left) != 0 || err != nil {
		t.Errorf("it leaves %v, %v", left, err)
	}
}

func TestAsRootAStoreThatIsThereIsLookedAtItself(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	look(t, t.Context(), root)
	if err := os.MkdirAll(root, 0o700); err != nil {
		t.Fatal(err)
	}
	f := look(t, t.Context(), root)
	if !f.Disk.Exists || !inside(f).Store.OK() || !inside(f).Step.OK() {
		t.Errorf("disk %+v, inside %+v", f.Disk, inside(f))
	}
	temporary, err := filepath.Glob(filepath.Join(root, "cooper", "tmp", "*"))
	if len(temporary) != 0 || err != nil {
		t.Errorf("it leaves %q, %v", temporary, err)
	}
}

func TestAsRootAPlaceThatCanHaveNoStoreIsAFailureWithARemedy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := look(t, t.Context(), filepath.Join("/proc/no", "store"))
	if o := inside(f).Store; o.OK() || !o.Tried || o.Fix == "" || !strings.Contains(o.Problem, "/proc/no/store") {
		t.Errorf("below /proc: %+v", o)
	}
	if r := Evaluate(f); r.Works || r.find(t, "store").Status != StatusFail || r.find(t, "run-step").Status != StatusSkip {
		t.Errorf("%+v", r)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{file, filepath.Join(file, "below", "store"), link} {
		o := inside(look(t, t.Context(), root)).Store
		if o.OK() || !strings.Contains(o.Problem, " is there and is no directory") || !strings.Contains(o.Fix, "--root") {
			t.Errorf("%s: %+v", root, o)
		}
	}
}

func TestAsRootALookEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	parent := t.TempDir()
	f := look(t, ctx, filepath.Join(parent, "store"))
	if Evaluate(f).Works {
		t.Error("after the end a machine is found to work")
	}
	left, err := filepath.Glob(filepath.Join(parent, scratchPrefix+"*"))
	if len(left) != 0 || err != nil {
		t.Errorf("it leaves %q, %v", left, err)
	}
}

// answering is an Enter whose process writes to its two descriptors and ends with a status.
func answering(text, stderr string, code int) func(context.Context, *os.File, ...string) (int, error) {
	return func(_ context.Context, words *os.File, env ...string) (int, error) {
		task, number, _ := strings.Cut(strings.TrimPrefix(env[0], envTask+"="), ":")
		fd, err := strconv.Atoi(number)
		if err != nil || task != taskInside {
			return 0, fmt.Errorf("started for %q", env)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			return 0, fmt.Errorf("descriptor %d is not inherited: %w", fd, err)
		}
		if _, err := unix.Write(fd, []byte(text)); err != nil {
			return 0, err
		}
		_, err = words.WriteString(stderr)
		return code, err
	}
}

func TestTheLookFromInsideIsWhatItsProcessAnswers(t *testing.T) {
	want := Inside{Overlay: Outcome{Tried: true}, Driver: "vfs", Step: Outcome{Tried: true, Problem: "p", Fix: "f"}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	in, o := enter(t.Context(), Options{Enter: answering(string(text), "a warning\n", 0)})
	if in == nil || cmp.Diff(want, *in) != "" || !o.OK() {
		t.Errorf("%+v, %+v", in, o)
	}
	for name, tt := range map[string]struct {
		enter func(context.Context, *os.File, ...string) (int, error)
		want  Outcome
	}{
		"an error": {func(context.Context, *os.File, ...string) (int, error) { return 0, errors.New("no\nhint: yes") },
			Outcome{true, "no", "yes"}},
		"a machine that can't": {func(context.Context, *os.File, ...string) (int, error) {
			return 0, &reexec.MachineError{Problem: "p", Remedy: "r"}
		}, Outcome{true, "p", "r"}},
		"words": {answering("", "cooper: it is off\nhint: switch it on\n", 125),
			Outcome{true, "it is off", "switch it on"}},
		"silence":  {answering("", "", 1), Outcome{true, "it ended without a word", ""}},
		"nonsense": {answering("{", "", 0), Outcome{true, "it ended without a word", ""}},
		"a signal": {answering("", "", 128+9), Outcome{true, "its process was ended by a signal: killed", "try again"}},
	} {
		if in, o := enter(t.Context(), Options{Enter: tt.enter}); in != nil || o != tt.want {
			t.Errorf("%s: %+v, %+v", name, in, o)
		}
	}
}

func TestAChildThatSaysTooMuchDoesNotWaitForever(t *testing.T) {
	p, err := newPipe()
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := p.w.WriteString(strings.Repeat("x", maxWords+(1<<20)))
		wrote <- err
	}()
	select {
	case err := <-wrote:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Minute):
		t.Fatal("it waits")
	}
	if text := p.end(); len(text) != maxWords {
		t.Errorf("%d bytes count", len(text))
	}
}

func TestNothingIsLeftOpenByALookFromInside(t *testing.T) {
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	before := count()
	for range 5 {
		enter(t.Context(), Options{Enter: answering("{}", "", 0)})
		enter(t.Context(), Options{Enter: answering("", "x", 1)})
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors, and then %d", before, after)
	}
}

func TestTasksOfOthersAreRefused(t *testing.T) {
	for _, task := range []string{"other", "inside:x", "bare-inside:x", ":"} {
		t.Setenv(envTask, task)
		if Task() != task {
			t.Errorf("the task is %q", Task())
		}
	}
	t.Setenv(envTask, "other:5")
	if err := RunTask(t.Context(), store.Options{}); err == nil ||
		err.Error() != envTask+" is set, but not by this program; unset it" {
		t.Errorf("got %v", err)
	}
	if _, ok := os.LookupEnv(envTask); ok {
		t.Error("what it starts has the variable, too")
	}
	if err := answer("x", Inside{}); err == nil || !strings.Contains(err.Error(), "unset it") {
		t.Errorf("an answer to nobody: %v", err)
	}
}

func TestATrialIsDoneByAnotherProcess(t *testing.T) {
	if o := trial(t.Context(), taskSeccomp, 0); !o.OK() {
		t.Errorf("seccomp: %+v", o)
	}
	if o := trial(t.Context(), "other", 0); o.OK() || !strings.Contains(o.Problem, "is set, but not by this program") ||
		o.Fix != "unset it" {
		t.Errorf("a task that isn't one: %+v", o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o := trial(ctx, taskSeccomp, 0); o.OK() {
		t.Errorf("after the end: %+v", o)
	}
}

func TestAnOverlayIsTriedByWritingToIt(t *testing.T) {
	if userns.IsRoot() {
		if err := tryOverlay(filepath.Join(t.TempDir(), "x"), insideOptions{}, false); err != nil {
			t.Error(err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tryOverlay(file, insideOptions{}, false); err == nil {
		t.Error("below a file it works")
	}
	if err := tryIDMap(file, sampleOf(1)); err == nil {
		t.Error("of a file there is a view")
	}
}

func TestRangesAreCountedWithWhatIsWrongWithThem(t *testing.T) {
	sub := userns.SubIDs{UIDs: []userns.SubIDRange{{Start: 1, Count: 10}, {Start: 100, Count: 20}},
		GIDs: []userns.SubIDRange{{Start: 1, Count: 5}}}
	if r := newRanges(sub, nil); r.UIDs != 30 || r.GIDs != 5 || !r.OK() || r.Broken {
		t.Errorf("%+v", r)
	}
	if r := newRanges(userns.SubIDs{}, fmt.Errorf("x; do that: %w", userns.ErrNoSubIDs)); r.OK() || r.Broken {
		t.Errorf("none: %+v", r)
	}
	if r := newRanges(userns.SubIDs{}, fmt.Errorf("x: %w", userns.ErrBadSubIDs)); r.OK() || !r.Broken {
		t.Errorf("bad ones: %+v", r)
	}
	if r := givenRanges(userns.Mapping{UIDs: userns.Map{{Length: 5}}, GIDs: userns.Map{{Length: 7}}}); r.UIDs != 5 ||
		r.GIDs != 7 ||
		r.Fix == "" {
		t.Errorf("those of a namespace: %+v", r)
	}
}

func TestProgramsAreLookedForInPath(t *testing.T) {
	dir := fakeRoot(t, map[string]string{"pasta": "", "fuse-overlayfs": "#!/bin/sh\n"})
	t.Setenv("PATH", dir)
	if got := inPath("pasta", "slirp4netns"); len(got) != 0 {
		t.Errorf("what can't be executed is found: %q", got)
	}
	for _, name := range []string{"pasta", "fuse-overlayfs"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got := inPath("pasta", "slirp4netns"); !slices.Equal(got, []string{"pasta"}) {
		t.Errorf("it finds %q", got)
	}
	if f := lookForFuse("/dev/null"); f.Program != filepath.Join(dir, "fuse-overlayfs") || !f.Device.OK() {
		t.Errorf("%+v", f)
	}
	for _, device := range []string{filepath.Join(dir, "pasta"), filepath.Join(dir, "none"), dir} {
		if f := lookForFuse(device); f.Device.OK() || !strings.Contains(f.Device.Fix, "chmod 666 "+device) {
			t.Errorf("%s: %+v", device, f)
		}
	}
}

func TestWhatAFilterDeniesIsBlamedForWhatFailedAlone(t *testing.T) {
	ok, bad, untried := Outcome{Tried: true}, wrong("its own"), Outcome{Problem: "it needs more"}
	in := Inside{Overlay: ok, Proc: bad, Step: untried}
	in.blame(nil)
	if in.Proc != bad {
		t.Errorf("without a filter: %+v", in.Proc)
	}
	in.blame([]string{"mount", "fsopen"})
	if in.Overlay != ok || in.Step != untried ||
		in.Proc.Problem != "it is broken; a seccomp filter denies mount, fsopen" ||
		in.Proc.Fix != filterFix {
		t.Errorf("%+v", in)
	}
}

func TestADiskIsLookedAtWhereItIs(t *testing.T) {
	dir := t.TempDir()
	d := lookAtDisk(store.Options{Root: filepath.Join(dir, "a", "b"), RunRoot: dir, Driver: "overlay"})
	if d.Exists || d.Problem != "" || d.Root != filepath.Join(dir, "a", "b") || d.FileSystem == "" || d.Free > d.Size {
		t.Errorf("%+v", d)
	}
	if d = lookAtDisk(store.Options{Root: dir, RunRoot: dir, Driver: "overlay"}); !d.Exists {
		t.Errorf("%+v", d)
	}
	for magic, want := range map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.TMPFS_MAGIC: "tmpfs",
		unix.XFS_SUPER_MAGIC:   "xfs",
		unix.BTRFS_SUPER_MAGIC: "btrfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs",
		0x2fc12fc1:            "zfs",
		unix.FUSE_SUPER_MAGIC: "fuse", unix.F2FS_SUPER_MAGIC: "f2fs", 0x1234: "file system 0x1234"} {
		if got := fileSystem(magic); got != want {
			t.Errorf("%#x is %s", magic, got)
		}
	}
}

func TestAmountsAreReadable(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 KiB", 5 << 10: "5 KiB", 10 << 20: "10 MiB", 9 << 30: "9216 MiB",
		10 << 30: "10 GiB"} {
		if got := amount(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
}

func TestIDsOfRootAreCountedWithoutItsOwn(t *testing.T) {
	for _, tt := range []struct {
		uid    uint32
		ids    uint64
		status Status
	}{{0, 65536, StatusOK}, {0, 65535, StatusWarn}, {0, 1, StatusWarn}, {0, 0, StatusWarn}, {1000, 65535, StatusOK},
		{1000, 65534, StatusWarn}} {
		f := healthy(tt.uid)
		f.Ranges.UIDs, f.Ranges.GIDs = tt.ids, tt.ids
		if c := Evaluate(f).find(t, "subordinate-ids"); c.Status != tt.status || (c.Fix == "") != (tt.status == StatusOK) {
			t.Errorf("%d IDs of user %d: %+v", tt.ids, tt.uid, c)
		}
	}
}

func TestAReportThatCanNotBeWrittenIsAnError(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	r := Evaluate(healthy(1000))
	if err := r.WriteText(full); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("text: %v", err)
	}
	if err := r.WriteJSON(full); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("JSON: %v", err)
	}
}
