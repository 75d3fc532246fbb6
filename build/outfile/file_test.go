package outfile

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestAtomicFileAppearsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "iid")
	a, err := Create(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("sha256:1")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before Commit: %v", err)
	}
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	a.Abort()
	if got, err := os.ReadFile(path); err != nil || string(got) != "sha256:1" || names(t, dir) != "[iid]" {
		t.Errorf("got %q, %v in %s", got, err, names(t, dir))
	}
	if err := a.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second Commit: %v", err)
	}
}

func TestAbortLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "iid")
	if err := WriteFile(t.Context(), path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	a, err := Create(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	a.Abort()
	a.Abort()
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" || names(t, dir) != "[iid]" {
		t.Errorf("got %q, %v in %s", got, err, names(t, dir))
	}
}

func TestReplacedFileKeepsModeAndLink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(t.Context(), link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("file is %v, %v", info, err)
	}
	if target, err := os.Readlink(link); err != nil || target != "file" {
		t.Errorf("link is %q, %v", target, err)
	}
}

func TestDevicesAreWrittenToNotReplaced(t *testing.T) {
	if err := WriteFile(t.Context(), "/dev/null", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		t.Fatalf("/dev/null is %v, %v", info, err)
	}
	if err := WriteFile(t.Context(), "/dev/full", []byte("x")); !errors.Is(err, syscall.ENOSPC) ||
		err.Error() != "write /dev/full: no space left on device" {
		t.Errorf("got %v", err)
	}
}

func TestAtomicFileErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:                             "create " + dir + ": is a directory",
		filepath.Join(dir, "no", "iid"): "create " + filepath.Join(dir, "no", "iid") + ": no such file or directory",
	} {
		if err := WriteFile(t.Context(), path, nil); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// names lists a directory, hidden files included.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return fmt.Sprint(out)
}

func TestReplacedFileKeepsItsOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := errors.Join(os.WriteFile(path, []byte("old"), 0o640), os.Chown(path, 33, 44),
		WriteFile(t.Context(), path, []byte("new"))); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Uid != 33 || st.Gid != 44 || st.Mode&0o7777 != 0o640 {
		t.Errorf("%d:%d %#o, %v", st.Uid, st.Gid, st.Mode, err)
	}
}

func TestLinksAreFollowedAsTheKernelDoes(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "a/b"), 0o755), os.Symlink("a/b/", filepath.Join(dir, "dir")),
		os.Symlink("../new", filepath.Join(dir, "a/b/dangling")), os.Symlink("loop", filepath.Join(dir, "loop")),
		os.Symlink(filepath.Join(dir, "a"), filepath.Join(dir, "a/b/absolute")), os.WriteFile(filepath.Join(dir, "file"), nil,
			0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"dir/f": "a/b/f", "dir/dangling": "a/new", "dir/../up": "a/up",
		"dir/absolute/x": "a/x", "./y": "y"} {
		if err := WriteFile(t.Context(), dir+"/"+path, []byte(path)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, want)); err != nil || string(got) != path {
			t.Errorf("%s: %s holds %q, %v", path, want, got, err)
		}
	}
	for path, want := range map[string]error{
		"loop": syscall.ELOOP, "file/x": syscall.ENOTDIR, "no/x": syscall.ENOENT, "new/": syscall.EISDIR,
		"dir": syscall.EISDIR, "dir/..": syscall.EISDIR,
	} {
		if err := WriteFile(t.Context(), dir+"/"+path, nil); !errors.Is(err, want) {
			t.Errorf("%s: %v, not %v", path, err, want)
		}
	}
}

func TestOpenDescriptorsAreWrittenTo(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "log")
	log, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.WriteString("before "); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{w, log} {
		if err := WriteFile(t.Context(), fmt.Sprintf("/dev/fd/%d", f.Fd()), []byte("id")); err != nil {
			t.Error(err)
		}
	}
	if _, err := log.WriteString(" after"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), log.Close()); err != nil {
		t.Fatal(err)
	}
	piped, err := io.ReadAll(r)
	logged, readErr := os.ReadFile(path)
	if string(piped) != "id" || string(logged) != "before id after" || err != nil || readErr != nil {
		t.Errorf("%q, %v; %q, %v", piped, err, logged, readErr)
	}
}

// everyones makes a directory that everyone may write to, which belongs to 44.
func everyones(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tmp")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, 44, 44), unix.Chmod(dir, 0o1777)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWhatOthersPlantInTmpIsRefused(t *testing.T) {
	dir := everyones(t)
	victim := filepath.Join(t.TempDir(), "victim")
	if err := errors.Join(os.Mkdir(victim, 0o755), os.WriteFile(victim+"/file", []byte("old"), 0o644)); err != nil {
		t.Fatal(err)
	}
	plant := func(name string, uid int, mk func(path string) error) {
		path := filepath.Join(dir, name)
		if err := errors.Join(mk(path), os.Lchown(path, uid, uid)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to string) func(string) error { return func(path string) error { return os.Symlink(to, path) } }
	fifo := func(path string) error { return unix.Mkfifo(path, 0o666) }
	file := func(path string) error { return os.WriteFile(path, []byte("theirs"), 0o666) }
	for name, mk := range map[string]func(string) error{
		"link": link(victim + "/file"), "dangling": link(victim + "/new"), "dir": link(victim), "fifo": fifo, "file": file,
	} {
		plant("theirs-"+name, 33, mk)
	}
	for _, name := range []string{"theirs-link", "theirs-dangling", "theirs-dir/file", "theirs-dir/new", "theirs-fifo",
		"theirs-file"} {
		err := WriteFile(t.Context(), filepath.Join(dir, name), []byte("new"))
		first, _, _ := strings.Cut(name, "/")
		want := fmt.Sprintf("create %s: follow %s: %s", filepath.Join(dir, name), filepath.Join(dir, first), ErrForeign)
		if !errors.Is(err, ErrForeign) || err.Error() != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	if _, err := OpenDir(filepath.Join(dir, "theirs-dir"), true); !errors.Is(err, ErrForeign) {
		t.Errorf("directory: %v", err)
	}
	if got, err := os.ReadFile(victim + "/file"); err != nil || string(got) != "old" || names(t, victim) != "[file]" {
		t.Errorf("victim has %q, %v of %s", got, err, names(t, victim))
	}
	plant("mine", os.Geteuid(), link(victim+"/file"))
	plant("owners", 44, link(victim+"/new"))
	plant("own-file", os.Geteuid(), file)
	for _, name := range []string{"mine", "owners", "own-file", "nothing"} {
		if err := WriteFile(t.Context(), filepath.Join(dir, name), []byte("new")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if names(t, victim) != "[file new]" {
		t.Errorf("victim has %s", names(t, victim))
	}
	if err := unix.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(t.Context(), filepath.Join(dir, "theirs-link"), []byte("by my leave")); err != nil {
		t.Errorf("in a directory that isn't for everyone: %v", err)
	}
}

func TestHardLinksAreNotWrittenThrough(t *testing.T) {
	dir := t.TempDir()
	victim, planted := filepath.Join(dir, "victim"), filepath.Join(dir, "planted")
	if err := errors.Join(os.WriteFile(victim, []byte("old"), 0o644), os.Link(victim, planted),
		WriteFile(t.Context(), planted, []byte("new"))); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(victim); err != nil || string(got) != "old" {
		t.Errorf("victim holds %q, %v", got, err)
	}
}

func TestFilesHaveNoNameBeforeTheyAreWhole(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(t.Context(), filepath.Join(dir, "new"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if got := names(t, dir); got != "[]" {
		t.Errorf("there is %s", got)
	}
}

func TestLeftoversAreSweptUnlessInUse(t *testing.T) {
	dir := t.TempDir()
	stale, theirs := filepath.Join(dir, ".cooper-stale.tmp"), filepath.Join(dir, ".cooper-theirs.tmp")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, ".cooper-dir.tmp/a/b"), 0o755), os.WriteFile(stale, nil, 0o600),
		os.WriteFile(theirs, nil, 0o600),
		os.Chown(theirs, 33, 33), os.Symlink("/etc", filepath.Join(dir, ".cooper-link.tmp")),
		os.WriteFile(filepath.Join(dir, ".cooper-x"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	at, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = at.Close() }()
	named, name, err := openNamed(at, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	live, err := OpenDir(filepath.Join(dir, "out"), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(t.Context(), filepath.Join(dir, "iid"), nil); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"stale", "dir"} {
		if _, err := os.Lstat(filepath.Join(dir, ".cooper-"+gone+".tmp")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", gone, err)
		}
	}
	for _, stays := range []string{name, live.TempName(), ".cooper-theirs.tmp", ".cooper-link.tmp", ".cooper-x", "iid"} {
		if _, err := os.Lstat(filepath.Join(dir, stays)); err != nil {
			t.Error(err)
		}
	}
	live.Close()
	if err := named.Close(); err != nil {
		t.Fatal(err)
	}
	sweep(at)
	if got, want := names(t, dir), "[.cooper-link.tmp .cooper-theirs.tmp .cooper-x iid]"; got != want {
		t.Errorf("at last there is %s", got)
	}
}

func TestManyMakeTemporaryNamesAtOnce(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for n := range 50 {
				d, err := OpenDir(filepath.Join(dir, fmt.Sprintf("%d-%d", i, n)), false)
				if err == nil {
					err = errors.Join(os.WriteFile(filepath.Join(d.Temp(), "in"), nil, 0o600), d.Commit())
					d.Close()
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 400 || strings.Contains(names(t, dir), tempPrefix) {
		t.Errorf("%d entries, %v: %s", len(entries), err, names(t, dir))
	}
}
