package tests_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// floorCalls is what only the ground floor has to do with: interrupted calls, locks, names of directories as the kernel
// gives them, data copied in the kernel.
const floorCalls = `\b(EINTR|[Ff]lock\(int\(|FcntlFlock|F_(OFD_)?(SETLKW?|GETLK)|LOCK_(EX|SH|NB|UN)|` +
	`(unix|syscall)\.(Flock|Getdents|ReadDirent|ParseDirent|CopyFileRange|IoctlFileClone|Sendfile))\b`

// floorExceptions are the files elsewhere that may, each with how often and why.
func floorExceptions() map[string]int {
	return map[string]int{
		"build/internal/store/scratch/sweep.go": 2, // asks for the storage library's locks, which are those of fcntl(2)
	}
}

// TestTheKernelIsAskedOnTheGroundFloor: loops on EINTR, locks, listings and copiers were written many times over, with
// as many answers to a cancelled build. What needs one takes that of internal/fsys or internal/flock. A child between
// fork and exec makes bare calls as rawproc lists them; none of these is among them. Tests play other programs, which
// lock as they like.
func TestTheKernelIsAskedOnTheGroundFloor(t *testing.T) {
	t.Parallel()
	call := regexp.MustCompile(floorCalls)
	allowed := floorExceptions()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		name := strings.TrimPrefix(filepath.ToSlash(path), "../")
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") ||
			strings.HasPrefix(name, "internal/") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if found := call.FindAllString(string(text), -1); len(found) != allowed[name] {
			t.Errorf("%s has %d calls that are internal/fsys's or internal/flock's, not %d: %q", name, len(found),
				allowed[name], found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
