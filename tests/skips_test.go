package tests_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNoTestSkips: a test that is skipped looks like one that has passed. What only root can run has a name that says
// so (package asroot), what needs a program fails without it, and only `-short` leaves out.
func TestNoTestSkips(t *testing.T) {
	t.Parallel()
	call := regexp.MustCompile(`\.Skip(f|Now)?\(`)
	seen := 0
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		seen++
		text, err := os.ReadFile(path)
		before := ""
		for line := range strings.Lines(string(text)) {
			if call.MatchString(line) && !strings.Contains(before, "testing.Short()") && filepath.Base(path) != "skips_test.go" {
				t.Errorf("%s skips: %s", path, strings.TrimSpace(line))
			}
			before = line
		}
		return err
	})
	if err != nil || seen < 50 {
		t.Errorf("%d files with tests: %v", seen, err)
	}
}
