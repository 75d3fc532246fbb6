package source

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// selected lists what is selected as "path (name)".
func selected(t *testing.T, root string, filter Filter, patterns ...string) ([]string, error) {
	t.Helper()
	fds := openFDs(t)
	sel, err := Select(openRoot(t, root), Query{Patterns: patterns, Filter: filter})
	if err != nil {
		if now := openFDs(t); now != fds+1 {
			t.Errorf("%d descriptors before, %d after", fds, now)
		}
		return nil, err
	}
	var out []string
	for _, item := range sel.Items {
		fd, err := unix.Openat(item.Dir, item.Base, unix.O_PATH|unix.O_NOFOLLOW, 0)
		check(t, err)
		check(t, unix.Close(fd))
		name := item.Path
		if item.IsDir() {
			name += "/"
		}
		out = append(out, name+" ("+item.Name+")")
	}
	check(t, sel.Close())
	if now := openFDs(t); now != fds+1 {
		t.Errorf("%d descriptors before, %d after", fds, now)
	}
	return out, nil
}

func TestSelect(t *testing.T) {
	root := tree(t, "a.txt", "b.txt", "d/e/f", "d/e/g", "d2/e/f", "x y/z", "s*r",
		"l->d/e", "lf->/d/e/f", "up->../../../a.txt", "d/back->../a.txt", "dir->d/")
	for _, c := range []struct {
		patterns []string
		want     []string
	}{
		{[]string{"a.txt"}, []string{"a.txt (a.txt)"}},
		{[]string{"/d"}, []string{"d/ (d)"}},
		{[]string{"."}, []string{"/ (.)"}},
		{[]string{"d/e/"}, []string{"d/e/ (e)"}},
		{[]string{"l"}, []string{"d/e/ (l)"}},
		{[]string{"lf"}, []string{"d/e/f (lf)"}},
		{[]string{"up"}, []string{"a.txt (up)"}},
		{[]string{"l/f"}, []string{"d/e/f (f)"}},
		{[]string{"d/back"}, []string{"a.txt (back)"}},
		{[]string{"dir/e"}, []string{"d/e/ (e)"}},
		{[]string{"*.txt"}, []string{"a.txt (a.txt)", "b.txt (b.txt)"}},
		{[]string{"b.txt", "a.txt"}, []string{"b.txt (b.txt)", "a.txt (a.txt)"}},
		{[]string{"d*/e/f"}, []string{"d/e/f (f)", "d2/e/f (f)"}},
		{[]string{"d*/*/[fg]"}, []string{"d/e/f (f)", "d/e/g (g)", "d2/e/f (f)"}},
		{[]string{"l*"}, []string{"d/e/ (l)", "d/e/f (lf)"}},
		{[]string{"l/*"}, []string{"d/e/f (f)", "d/e/g (g)"}},
		{[]string{"x y/z"}, []string{"x y/z (z)"}},
		{[]string{`s\*r`}, []string{"s*r (s*r)"}},
		{[]string{"a.txt", "none*"}, []string{"a.txt (a.txt)"}},
		{[]string{"../../a.txt"}, []string{"a.txt (a.txt)"}},
		{nil, nil},
	} {
		got, err := selected(t, root, nil, c.patterns...)
		check(t, err)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.patterns, diff)
		}
	}
}

func TestSelectWithAFilter(t *testing.T) {
	root := tree(t, "a.txt", "b.txt", "d/e/f", "d/e/g", "d/h", "l->d/e/f", "m->a.txt", "v/w/x")
	filter := ignore(t, "a.txt", "d", "!d/e/f", "m", "v", "!v/w/y")
	for _, c := range []struct {
		pattern string
		want    []string
		err     string
	}{
		{"*.txt", []string{"b.txt (b.txt)"}, ""},
		{"d", []string{"d/ (d)"}, ""},
		{"d/e", []string{"d/e/ (e)"}, ""},
		{"d/e/f", []string{"d/e/f (f)"}, ""},
		{"d/*/*", []string{"d/e/f (f)"}, ""},
		{"l", []string{"d/e/f (l)"}, ""},
		{"a.txt", nil, `"a.txt" is excluded by .dockerignore:1: a.txt`},
		{"d/h", nil, `"d/h" is excluded by .dockerignore:2: d`},
		{"d/e/g", nil, `"d/e/g" is excluded by .dockerignore:2: d`},
		{"m", nil, `"m" is excluded by .dockerignore:4: m`},
		{"a*", nil, ""},
		{"v", nil, `"v" is excluded by .dockerignore:5: v`},
	} {
		got, err := selected(t, root, filter, c.pattern)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: got error %v, want %q", c.pattern, err, c.err)
			}
			continue
		}
		check(t, err)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.pattern, diff)
		}
	}
}

func TestAMissingSourceSaysWhatIsThere(t *testing.T) {
	root := tree(t, "Makefile", "src/main.go", "src/main_test.go", "deploy/config.yaml", "package.json", "link->gone",
		"round->round")
	for pattern, want := range map[string]string{
		"makefile":         `"makefile" not found; did you mean "Makefile"?`,
		"src/mian.go":      `"src/mian.go" not found; did you mean "src/main.go"?`,
		"scr/main.go":      `"scr/main.go" not found; did you mean "src/main.go"?`,
		"config.yaml":      `"config.yaml" not found; did you mean "deploy/config.yaml"?`,
		"dep/*.yaml":       `"dep/*.yaml" matches no file; did you mean "deploy/config.yaml"?`,
		"Makefile/*.xyz":   `"Makefile/*.xyz" matches no file`,
		"quite-different":  `"quite-different" not found`,
		"../up.txt":        `"../up.txt" is outside the build context: forbidden path`,
		"src/../../up.txt": `"src/../../up.txt" is outside the build context: forbidden path`,
		"link":             `"link" not found: the symlink link -> gone leads to nothing in the context`,
		"Makefile/x":       `"Makefile/x" not found`,
		"src/":             "",
	} {
		_, err := selected(t, root, nil, pattern)
		if err == nil && want == "" {
			continue
		}
		if err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", pattern, err, want)
		}
	}
	if _, err := selected(t, root, nil, "round"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a circle: %v", err)
	}
	if _, err := selected(t, root, nil, strings.Repeat("x/", 3000)); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("a long path: %v", err)
	}
}

func TestOpenInStaysInside(t *testing.T) {
	root := tree(t, "f=text", "l->/f", "sub/m->../../../f", "out->/etc/passwd", "p->/proc/self/root/etc/passwd", "d/")
	check(t, unix.Mkfifo(root+"/fifo", 0o644))
	dir := openRoot(t, root)
	for _, name := range []string{"f", "/f", "l", "sub/m", "../../f"} {
		f, err := OpenIn(dir, name)
		check(t, err)
		buf := make([]byte, 10)
		if n, _ := f.Read(buf); string(buf[:n]) != "text" {
			t.Errorf("%s: %q", name, buf[:n])
		}
		check(t, f.Close())
	}
	for name, want := range map[string]error{
		"out": os.ErrNotExist, "p": os.ErrNotExist, "none": os.ErrNotExist, "d": unix.EISDIR, "fifo": ErrNotRegular,
		"f/x": unix.ENOTDIR,
	} {
		if _, err := OpenIn(dir, name); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
}

func TestContext(t *testing.T) {
	root := tree(t, "f=text")
	c, err := OpenDir(root, ignore(t, "x"))
	check(t, err)
	f, err := c.Open("f")
	check(t, err)
	check(t, f.Close())
	if c.Ignore().Name() != ".dockerignore" || c.Root() == nil {
		t.Error("ignore file or root is lost")
	}
	check(t, c.Close())
	if _, err := OpenDir(root+"/f", nil); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
	if _, err := OpenDir(root+"/none", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"abc", "abc", 0}, {"ABC", "abc", 0}, {"abc", "abd", 1}, {"abc", "ab", 1}, {"", "ab", 2}, {"kitten", "sitting", 3},
		{"abcdef", "uvwxyz", 4}} {
		if got := distance(c.a, c.b, 3); got != c.want {
			t.Errorf("%q, %q: got %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
