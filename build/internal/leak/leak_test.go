package leak_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/leak"
)

func TestSecretsAreFoundWhereverTheyLieInAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("the outside secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	write("a/plain", "x the plain secret y")
	write("b", "x the plain secret y")                                   // once is enough
	write("edge", strings.Repeat("x", 1<<16-4)+"the secret at the edge") // between two pieces
	write("short", "short")
	write("empty", "")
	for _, err := range []error{
		os.Symlink(outside, filepath.Join(dir, "link")), unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
		os.Symlink("..", filepath.Join(dir, "up")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found, err := leak.Search(f, map[string][]byte{
		"plain": []byte("\nthe plain secret \n"), "edge": []byte("the secret at the edge"), "short": []byte("short"),
		"outside": []byte("the outside secret"), "nowhere": []byte("the secret that is nowhere"), "none": nil,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []leak.Find{{Path: "a/plain", Secret: "plain"}, {Path: "edge", Secret: "edge"}}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
