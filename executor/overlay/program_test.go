package overlay_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/overlay"
)

func fuseOverlayFS(t *testing.T) overlay.Program {
	t.Helper()
	path, err := exec.LookPath("fuse-overlayfs")
	if err != nil {
		t.Fatalf("%v\nhint: sh contrib/setup.sh --tests", err)
	}
	return overlay.Program{Path: path, Options: []string{"noacl"}}
}

func TestProgramShowsTopmostFile(t *testing.T) {
	program := fuseOverlayFS(t)
	_, o := fixture(t)
	for _, lower := range [][]*os.File{o.Lower, o.Lower[2:]} {
		o.Lower = lower
		root, unmount, err := program.Mount(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if len(lower) > 1 {
			checkView(t, root)
		}
		if err := writeAt(root, "etc/a", "x"); !errors.Is(err, unix.EROFS) {
			t.Errorf("write to a view: %v", err)
		}
		if table, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(table), t.Name()) {
			t.Errorf("%v, or in the mount table:\n%s", err, table)
		}
		if err := unmount(); err != nil {
			t.Error(err)
		}
	}
}

func TestProgramHasWrittenAllWhenItIsUnmounted(t *testing.T) {
	program := fuseOverlayFS(t)
	base, o := fixture(t)
	o.Upper, o.Work, o.Volatile = dir(t, base+"/upper"), dir(t, base+"/work"), true
	root, unmount, err := program.Mount(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 1<<20)
	if err := errors.Join(writeAt(root, "etc/b", long), unix.Unlinkat(int(root.Fd()), "c", 0)); err != nil {
		t.Fatal(err)
	}
	clone, err := overlay.Bind(root, overlay.BindOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := readAt(t, clone, "etc/a"); got != "a1" {
		t.Errorf("a clone has %q", got)
	}
	if err := errors.Join(clone.Close(), unmount()); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(base + "/upper/etc/b"); string(b) != long {
		t.Errorf("upper has %d bytes, %v", len(b), err)
	}
	if b, _ := os.ReadFile(base + "/l2/etc/b"); string(b) != "b2" {
		t.Errorf("lower changed: %q", b)
	}
}

func TestUpperAloneNeedsNoProgram(t *testing.T) {
	base, o := fixture(t)
	o.Lower, o.Upper, o.Work = nil, dir(t, base+"/upper"), dir(t, base+"/work")
	root, unmount, err := overlay.Program{Path: "/nowhere"}.Mount(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Mkdirat(int(root.Fd()), "new", 0o755), unmount()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(base + "/upper/new"); err != nil {
		t.Error(err)
	}
}

func TestProgramThatDoesNotServeIsAnError(t *testing.T) {
	base, o := fixture(t)
	script := base + "/program"
	write(t, script, "#!/bin/sh\necho never heard of $3 >&2\nexit 3\n")
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{script: "never heard of lowerdir=", base + "/nowhere": "no such file"} {
		_, _, err := overlay.Program{Path: path}.Mount(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestAProgramMaySayThatItsMountHasGone: it may be reading the next request when the mount is taken away.
func TestAProgramMaySayThatItsMountHasGone(t *testing.T) {
	program := fuseOverlayFS(t)
	base, o := fixture(t)
	for says, want := range map[string]string{
		"fuse: reading device: Software caused connection abort": "", "the disk is full": "the disk is full",
	} {
		script := base + "/program"
		write(t, script, "#!/bin/sh\n"+program.Path+" \"$@\"\necho '"+says+"' >&2\nexit 1\n")
		if err := os.Chmod(script, 0o755); err != nil {
			t.Fatal(err)
		}
		root, unmount, err := overlay.Program{Path: script, Options: program.Options}.Mount(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		checkView(t, root)
		if err := unmount(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

func TestProgramEndsWithItsContext(t *testing.T) {
	program := fuseOverlayFS(t)
	_, o := fixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	root, unmount, err := program.Mount(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	var st unix.Stat_t
	// until the program has ended; the kernel asks it once for a name
	for i, none := 0, error(unix.ENOENT); errors.Is(none, unix.ENOENT); i++ {
		none = unix.Fstatat(int(root.Fd()), fmt.Sprint("none", i), &st, 0)
		err = none
	}
	if !errors.Is(err, unix.ENOTCONN) && !errors.Is(err, unix.ECONNABORTED) {
		t.Errorf("after the end of the program: %v", err)
	}
	if err := unmount(); err != nil {
		t.Error(err)
	}
}

func TestWhatCanBeClonedIsFoundOutByTrying(t *testing.T) {
	detached, err := overlay.Tmpfs(overlay.TmpfsOptions{Mode: 0o755})
	if err != nil {
		t.Fatal(err)
	}
	defer detached.Close()
	clone, err := overlay.Bind(detached, overlay.BindOptions{})
	if err == nil {
		clone.Close()
	}
	if overlay.ClonesDetached() != (err == nil) {
		t.Errorf("ClonesDetached says %t, Bind %v", overlay.ClonesDetached(), err)
	}
}
