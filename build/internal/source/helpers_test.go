package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// plant makes a tree: "name" is a file that holds its name, "name=text" one that holds the text, "name/" a directory,
// "name->target" a link.
func plant(t testing.TB, root string, names ...string) {
	t.Helper()
	for _, name := range names {
		name, target, isLink := strings.Cut(name, "->")
		path, text, hasText := strings.Cut(name, "=")
		if !hasText {
			text = path
		}
		full := filepath.Join(root, path)
		check(t, os.MkdirAll(filepath.Dir(full), 0o755))
		switch {
		case isLink:
			check(t, os.Symlink(target, full))
		case strings.HasSuffix(path, "/"):
			check(t, os.MkdirAll(full, 0o755))
		default:
			check(t, os.WriteFile(full, []byte(text), 0o644))
		}
	}
}

// tree is a new directory with the given names.
func tree(t testing.TB, names ...string) string {
	t.Helper()
	root := t.TempDir()
	plant(t, root, names...)
	return root
}

func openRoot(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	check(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func ignore(t testing.TB, lines ...string) *Ignore {
	t.Helper()
	ig, err := ParseIgnore(".dockerignore", strings.NewReader(strings.Join(lines, "\n")))
	check(t, err)
	return ig
}

func openFDs(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	return len(list)
}
