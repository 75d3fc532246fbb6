package fileop

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/userns/asroot"
)

// secret is what must not be read: a file beside the context.
const secret = "SECRET"

// hostileStage has a file with the secret outside of everything, whose path it returns.
func hostileStage(t *testing.T) (s stage, outside string) {
	t.Helper()
	s = newStage(t)
	outside = filepath.Join(filepath.Dir(s.context), "outside")
	check(t, os.Mkdir(outside, 0o755))
	check(t, os.WriteFile(outside+"/secret", []byte(secret), 0o644))
	return s, outside
}

// noSecret fails if the layer holds the secret, or if something was written outside.
func noSecret(t *testing.T, s stage, outside string) {
	t.Helper()
	for name, what := range read(t, s.layer) {
		if strings.Contains(what, secret) && !strings.HasPrefix(what, "link ") {
			t.Fatalf("the layer's %s holds the secret", name)
		}
	}
	entries, err := os.ReadDir(outside)
	check(t, err)
	if len(entries) != 1 {
		t.Fatalf("something was written outside: %v", entries)
	}
}

func TestLinksInASourceDontLeadOut(t *testing.T) {
	for _, c := range []struct{ name, link, source string }{
		{"absolute to a file", "OUT/secret", "link"},
		{"absolute to a directory", "OUT", "link"},
		{"a file below it", "OUT", "link/secret"},
		{"a pattern below it", "OUT", "link/*"},
		{"relative", "../outside/secret", "link"},
		{"far up", "../../../../../../../../../../../../OUT/secret", "link"},
		{"the root", "/", "link/OUT/secret"},
		{"of a process", "/proc/self/root", "link/OUT/secret"},
		{"of a descriptor", "/proc/self/fd", "link/0"},
		{"matched by a pattern", "OUT/secret", "l*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, outside := hostileStage(t)
			check(t, os.Symlink(strings.ReplaceAll(c.link, "OUT", outside), s.context+"/link"))
			err := s.copy(t, []string{strings.ReplaceAll(c.source, "OUT", outside)}, "/x/")
			var none *NoMatchError
			if !errors.As(err, &none) {
				t.Errorf("got error %v, want NoMatchError", err)
			}
			noSecret(t, s, outside)
		})
	}
}

func TestLinksInTheParentDontLeadOut(t *testing.T) {
	for _, c := range []struct{ name, link, dest string }{
		{"absolute", "OUT", "/link/"},
		{"relative", "../outside", "/link/"},
		{"below it", "OUT", "/link/x/y"},
		{"of a process", "/proc/self/root", "/linkOUT/"},
		{"far up", "../../../../../../../../../..OUT", "/link/"},
		{"to a file", "OUT/secret", "/link"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, outside := hostileStage(t)
			plant(t, s.context, files{"a": "file A"})
			check(t, os.Symlink(strings.ReplaceAll(c.link, "OUT", outside), s.view+"/link"))
			check(t, s.copy(t, []string{"a"}, strings.ReplaceAll(c.dest, "OUT", outside)))
			noSecret(t, s, outside)
			if text, err := os.ReadFile(outside + "/secret"); err != nil || string(text) != secret {
				t.Errorf("the file outside was written to: %q, %v", text, err)
			}
		})
	}
}

// flip swaps the names a and b as fast as it can until stop is called.
func flip(t *testing.T, a, b string) (stop func()) {
	t.Helper()
	var done atomic.Bool
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for !done.Load() {
			_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
		}
	}()
	return func() { done.Store(true); <-finished }
}

func TestWhatIsSwappedMeanwhileDoesntLeadOut(t *testing.T) {
	for _, c := range []struct {
		name    string
		sources []string
		plant   func(t *testing.T, s stage, outside string) (a, b string)
	}{
		{"a directory and a link", []string{"d"}, func(t *testing.T, s stage, outside string) (string, string) {
			plant(t, s.context, files{"d/e/secret": "file harmless"})
			check(t, os.Symlink(outside, s.context+"/spare"))
			return s.context + "/d/e", s.context + "/spare"
		}},
		{"a directory on the way", []string{"d/e/secret"}, func(t *testing.T, s stage, outside string) (string, string) {
			plant(t, s.context, files{"d/e/secret": "file harmless"})
			check(t, os.Symlink(outside, s.context+"/spare"))
			return s.context + "/d/e", s.context + "/spare"
		}},
		{"a file and a link", []string{"d"}, func(t *testing.T, s stage, outside string) (string, string) {
			plant(t, s.context, files{"d/f": "file harmless"})
			check(t, os.Symlink(outside+"/secret", s.context+"/spare"))
			return s.context + "/d/f", s.context + "/spare"
		}},
		{"a named file and a link", []string{"d/f"}, func(t *testing.T, s stage, outside string) (string, string) {
			plant(t, s.context, files{"d/f": "file harmless"})
			check(t, os.Symlink(outside+"/secret", s.context+"/spare"))
			return s.context + "/d/f", s.context + "/spare"
		}},
		{"a file and a FIFO", []string{"d"}, func(t *testing.T, s stage, _ string) (string, string) {
			plant(t, s.context, files{"d/f": "file harmless", "spare": "fifo"})
			return s.context + "/d/f", s.context + "/spare"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, outside := hostileStage(t)
			a, b := c.plant(t, s, outside)
			stop := flip(t, a, b)
			defer stop()
			rounds, first := 200, s.layer
			if testing.Short() {
				rounds = 20
			}
			for n := range rounds {
				s.layer = fmt.Sprintf("%s-%d", first, n)
				check(t, os.Mkdir(s.layer, 0o755))
				if err := s.copy(t, c.sources, "/x/"); err != nil && !expectedInRace(err) {
					t.Fatalf("unexpected error: %v", err)
				}
				noSecret(t, s, outside)
			}
		})
	}
}

// expectedInRace knows the errors that a tree which changes under the copy may cause.
func expectedInRace(err error) bool {
	var none *NoMatchError
	if errors.As(err, &none) {
		return true
	}
	for _, known := range []error{
		ErrChanged, errVanished, source.ErrNotRegular, unix.ENOTDIR, unix.ELOOP, unix.ENOENT, unix.EINVAL, fs.ErrNotExist,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

func TestStrangeNames(t *testing.T) {
	s := newStage(t)
	names := []string{
		strings.Repeat("n", 255), "new\nline", "\xff\xfe", " ", "-rf", "a\tb", "*", "[", "\\", "a'\"b", "\u202e", "...",
		"a:b", "%s",
	}
	for _, name := range names {
		check(t, os.Mkdir(filepath.Join(s.context, name), 0o755))
		check(t, os.WriteFile(filepath.Join(s.context, name, name), []byte(name), 0o644))
	}
	check(t, s.copy(t, []string{"."}, "/x"))
	for _, name := range names {
		if text, err := os.ReadFile(filepath.Join(s.layer, "x", name, name)); err != nil || string(text) != name {
			t.Errorf("%q: got %q, %v", name, text, err)
		}
	}
	for n, name := range names[1:6] {
		check(t, s.copy(t, []string{name}, fmt.Sprintf("/y%d", n)))
	}
}

func TestANameThatIsTooLongIsAnError(t *testing.T) {
	s := newStage(t)
	long := strings.Repeat("n", 300)
	wantError(t, s.copy(t, []string{long}, "/x"), unix.ENAMETOOLONG)
	plant(t, s.context, files{"a": "file A"})
	wantError(t, s.copy(t, []string{"a"}, "/"+long), unix.ENAMETOOLONG)
}

func TestADeepTreeIsAnErrorAndNoCrash(t *testing.T) {
	s := newStage(t)
	fd, err := unix.Open(s.context, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	check(t, err)
	name := strings.Repeat("d", 200)
	for range 30 {
		check(t, unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		check(t, err)
		check(t, unix.Close(fd))
		fd = next
	}
	check(t, unix.Close(fd))
	wantError(t, s.copy(t, []string{"."}, "/"), unix.ENAMETOOLONG)
}

func TestAHundredThousandFilesInOneDirectory(t *testing.T) {
	files := int64(100_000)
	if testing.Short() || !asroot.Real() {
		files = 10_000 // once is enough for so many, and the machine's root has it
	}
	s := newStage(t)
	dir := openRoot(t, s.context)
	for n := range files {
		check(t, unix.Mknodat(int(dir.Fd()), fmt.Sprintf("file-%06d", n), unix.S_IFREG|0o644, 0))
	}
	r, err := Copy(t.Context(), s.options(t, []string{"."}, "/x"))
	check(t, err)
	if r.Files != files {
		t.Errorf("copied %d files", r.Files)
	}
}
