package source_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/source"
)

// look digests a directory, and gives what its files hold, and the fingerprint that it had then.
func look(t *testing.T, dir string) (*source.Contents, digest.Digest) {
	t.Helper()
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	held, sum := new(source.Contents), digest.Digest("")
	o := source.DigestOptions{Root: root, Query: source.Query{Patterns: []string{"."}}, Contents: held, Print: &sum}
	if _, err := source.Digest(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	plain, err := source.Fingerprint(t.Context(), source.DigestOptions{Root: root, Query: o.Query})
	if err != nil || plain != sum {
		t.Errorf("the fingerprint is %s, made with the digest it is %s, %v", plain, sum, err)
	}
	return held, sum
}

func TestFilesWithTheSameContentAreTold(t *testing.T) {
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
	for n := range 20 {
		write(fmt.Sprintf("d/%d", n), fmt.Sprint(n))
	}
	write("top", "1")
	write("ab/c", "1")
	if err := os.Symlink("top", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	before, sum := look(t, dir)
	if before.Count() != 22 {
		t.Errorf("%d files are counted", before.Count())
	}
	write("d/3", "another")
	write("a/bc", "1")
	if err := os.Rename(filepath.Join(dir, "d/4"), filepath.Join(dir, "d/x")); err != nil {
		t.Fatal(err)
	}
	now, later := look(t, dir)
	if later == sum {
		t.Error("the fingerprint is the same")
	}
	same := now.Same(before.Bytes())
	for path, want := range map[string]bool{"d/2": true, "top": true, "ab/c": true, "d/3": false, "d/4": false,
		"d/x": false, "a/bc": false, "link": false, "nothing": false} {
		if got := same(path); got != want {
			t.Errorf("%s is the same: %v", path, got)
		}
	}
	for what, list := range map[string][]byte{"nothing": nil, "half a record": before.Bytes()[:7],
		"twice the same": append(before.Bytes()[:len(before.Bytes()):len(before.Bytes())], before.Bytes()...)} {
		if now.Same(list) != nil {
			t.Errorf("after %s, files are the same", what)
		}
	}
}
