package outfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// create starts a file and writes a text to it.
func create(t *testing.T, path, text string) *File {
	t.Helper()
	f, err := Create(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Abort)
	if _, err := f.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return f
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
	}
}

// TestADirectoryThatIsSwappedGetsNothing has somebody put a link in the place of the destination's directory.
func TestADirectoryThatIsSwappedGetsNothing(t *testing.T) {
	dir, victim := t.TempDir(), t.TempDir()
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	f := create(t, filepath.Join(out, "file"), "mine")
	d, err := OpenDir(filepath.Join(out, "tree"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := errors.Join(os.Rename(out, out+".moved"), os.Symlink(victim, out), f.Commit(), d.Commit()); err != nil {
		t.Fatal(err)
	}
	holds(t, out+".moved/file", "mine")
	if got := names(t, victim); got != "[]" {
		t.Errorf("the victim has %s", got)
	}
	if got := names(t, out+".moved"); got != "[file tree]" {
		t.Errorf("the directory has %s", got)
	}
}

// TestWhatIsPlantedBeforeTheEndIsReplaced has somebody make something of the file's name after it was looked for.
func TestWhatIsPlantedBeforeTheEndIsReplaced(t *testing.T) {
	for name, was := range map[string]bool{"in place of nothing": false, "in place of a file": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, victim := filepath.Join(dir, "file"), filepath.Join(dir, "victim")
			if err := os.WriteFile(victim, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			if was {
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f := create(t, path, "mine")
			_ = os.Remove(path)
			if err := errors.Join(os.Symlink("victim", path), f.Commit()); err != nil {
				t.Fatal(err)
			}
			holds(t, victim, "old")
			holds(t, path, "mine")
			if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || names(t, dir) != "[file victim]" {
				t.Errorf("%v, %v in %s", info, err, names(t, dir))
			}
		})
	}
}

func TestNothingIsLeftIfTheEndFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	f := create(t, path, "mine")
	if err := os.MkdirAll(path+"/in the way", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); !errors.Is(err, unix.EISDIR) || !strings.HasPrefix(err.Error(), "create "+path+": ") {
		t.Errorf("got %v", err)
	}
	if got := names(t, dir); got != "[file]" {
		t.Errorf("there is %s", got)
	}
	if _, err := f.Write(nil); err == nil {
		t.Error("a file that has come to nothing is written to")
	}
}

func TestADirectoryThatIsRemovedMeanwhileIsAnError(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f := create(t, filepath.Join(dir, "file"), "mine")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
}

func TestModesAreThoseOfTheOldFileOrTheUmask(t *testing.T) {
	for old, want := range map[fs.FileMode]fs.FileMode{
		0o600: 0o600, 0o640: 0o640, 0o777: 0o777, 0o200: 0o200, 0: 0,
		fs.ModeSetuid | 0o755: 0o755, fs.ModeSetgid | 0o770: 0o770, // what is new has no rights of its own
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := errors.Join(os.WriteFile(path, []byte("a longer old text"), 0o600), os.Chmod(path, old),
			WriteFile(t.Context(), path, []byte("new"))); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != want || info.Size() != 3 {
			t.Errorf("%v became %v, %d bytes, %v", old, info.Mode(), info.Size(), err)
		}
	}
	for mask, want := range map[int]fs.FileMode{0o022: 0o644, 0o077: 0o600, 0: 0o666} {
		path := filepath.Join(t.TempDir(), "file")
		if err := fsys.WithUmask(mask, func() error { return WriteFile(t.Context(), path, nil) }); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("umask %#o: %v, %v", mask, info.Mode(), err)
		}
	}
}

// TestOneOfManyWritersWins has readers look meanwhile: each sees one text, whole.
func TestOneOfManyWritersWins(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	text := func(i int) string { return strings.Repeat(fmt.Sprint(i), 10_000) }
	if err := WriteFile(t.Context(), path, []byte(text(0))); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for range 25 {
				if err := WriteFile(t.Context(), path, []byte(text(i))); err != nil {
					t.Error(err)
				}
				got, err := os.ReadFile(path)
				if err != nil || len(got) != 10_000 || strings.Trim(string(got), string(got[:1])) != "" {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			}
		})
	}
	group.Wait()
	if got := names(t, dir); got != "[file]" {
		t.Errorf("there is %s", got)
	}
}

func TestAsManyLinksAreFollowedAsTheKernelDoes(t *testing.T) {
	dir := t.TempDir()
	for i := range maxLinks + 1 {
		if err := os.Symlink(fmt.Sprint(i), filepath.Join(dir, fmt.Sprint(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteFile(t.Context(), filepath.Join(dir, fmt.Sprint(maxLinks)), []byte("x")); err != nil {
		t.Error(err)
	}
	holds(t, filepath.Join(dir, "0"), "x")
	if err := WriteFile(t.Context(), filepath.Join(dir, fmt.Sprint(maxLinks+1)), nil); !errors.Is(err, unix.ELOOP) {
		t.Errorf("one more: %v", err)
	}
}

func TestNamesThatStandForDirectoriesAreNoFiles(t *testing.T) {
	dir := t.TempDir()
	if err := WriteFile(t.Context(), dir+"/file", []byte("old")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		dir + "/new/.": syscall.EISDIR, dir + "/file/.": syscall.EISDIR, dir + "/file/": syscall.EISDIR,
		dir + "/.":  syscall.EISDIR,
		dir + "/..": syscall.EISDIR, "/": syscall.EISDIR, "": syscall.ENOENT, dir + "/file/..": syscall.ENOTDIR,
		dir + "/" + strings.Repeat("x", 256): syscall.ENAMETOOLONG,
	} {
		if err := WriteFile(t.Context(), path, nil); !errors.Is(err, want) {
			t.Errorf("%s: %v, not %v", path, err, want)
		}
	}
	holds(t, dir+"/file", "old")
	long := strings.Repeat("x", 255)
	if err := WriteFile(t.Context(), dir+"/"+long, nil); err != nil || names(t, dir) != "[file "+long+"]" {
		t.Errorf("%v; there is %s", err, names(t, dir))
	}
}

func TestAPipeIsWrittenTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		text, err := os.ReadFile(path)
		got <- fmt.Sprint(string(text), err)
	}()
	f := create(t, path, "text")
	if !f.Direct() {
		t.Error("it is to be replaced")
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if text := <-got; text != "text<nil>" {
		t.Errorf("the reader got %s", text)
	}
}

func TestAFileWithoutANameLeavesNone(t *testing.T) {
	dir := t.TempDir()
	f := create(t, filepath.Join(dir, "file"), "")
	if f.Direct() {
		t.Error("a file is written to directly")
	}
	for name, open := range map[string]func() (*os.File, error){
		"beside a file": f.Unnamed, "in a directory": func() (*os.File, error) { return Unnamed(dir) },
	} {
		spool, err := open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := spool.WriteString("text"); err != nil {
			t.Error(err)
		}
		back := make([]byte, 4)
		if _, err := spool.ReadAt(back, 0); err != nil || string(back) != "text" || names(t, dir) != "[]" {
			t.Errorf("%s: %q, %v; there is %s", name, back, err, names(t, dir))
		}
		if err := spool.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Unnamed(dir + "/nowhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestTheUsualNamesAreNotTemporary(t *testing.T) {
	for name, want := range map[string]bool{".cooper-1.tmp": true, tempName(): true, ".cooper-1": false,
		"cooper-1.tmp":   false,
		"x.cooper-1.tmp": false, "": false} {
		if IsTemp(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
	if first, second := tempName(), tempName(); first == second {
		t.Error("two have one name")
	}
}
