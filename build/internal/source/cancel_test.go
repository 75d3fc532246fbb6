package source_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
)

func TestALargeFileIsReadNoFurtherOnceTheCallEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "huge"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Truncate(filepath.Join(dir, "huge"), 8<<40); err != nil { // all of it takes hours
		t.Fatal(err)
	}
	root, err := source.OpenDir(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	for _, pattern := range []string{"/", "huge"} { // by a walk, and by itself
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		ended := make(chan error)
		go func() {
			_, err := source.Digest(ctx,
				source.DigestOptions{Root: root.Root(), Query: source.Query{Patterns: []string{pattern}}})
			ended <- err
		}()
		cancel(why)
		if err := <-ended; !errors.Is(err, why) {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}
