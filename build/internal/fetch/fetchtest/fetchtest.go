// Package fetchtest gives tests servers, repositories to fetch from, and looks at what is kept of them.
package fetchtest

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
)

// Serve starts a server and counts its requests.
func Serve(t *testing.T, h http.HandlerFunc) (url string, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, requests
}

// Origin is a bare repository that tests make.
type Origin struct {
	t *testing.T
	// Dir is the path of the repository.
	Dir string
}

// NewOrigin makes NAME.git below dir.
func NewOrigin(t *testing.T, dir, name string) *Origin {
	t.Helper()
	o := &Origin{t: t, Dir: filepath.Join(dir, name+".git")}
	o.Command("", "init", "--quiet", "--bare", "--initial-branch=main", o.Dir)
	return o
}

// Command runs git with a time that makes commit IDs the same in every run.
func (o *Origin) Command(stdin string, args ...string) string {
	o.t.Helper()
	cmd := exec.CommandContext(o.t.Context(), "git", args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@x",
		"GIT_COMMITTER_NAME=a",
		"GIT_COMMITTER_EMAIL=a@x", "GIT_AUTHOR_DATE=1000000000 +0000", "GIT_COMMITTER_DATE=1000000000 +0000",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		o.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Git runs git on the repository, with a standard input, and gives what it prints.
func (o *Origin) Git(stdin string, args ...string) string {
	o.t.Helper()
	return o.Command(stdin, append([]string{"--git-dir=" + o.Dir}, args...)...)
}

// Commit makes a commit of contents by "MODE NAME" on top of a parent ("" for none) and has refs name it. A mode is one
// of git's: 100644, 100755, 120000 or 160000, whose content is a commit.
func (o *Origin) Commit(parent string, files map[string]string, refs ...string) string {
	o.t.Helper()
	o.Git("", "read-tree", "--empty")
	var index strings.Builder
	for name, content := range files {
		mode, path, _ := strings.Cut(name, " ")
		object := content
		if mode != "160000" {
			object = o.Git(content, "hash-object", "-w", "--stdin")
		}
		fmt.Fprintf(&index, "%s %s\t%s\n", mode, object, path)
	}
	o.Git(index.String(), "update-index", "--index-info")
	args := []string{"commit-tree", "-m", "message", o.Git("", "write-tree")}
	if parent != "" {
		args = append(args, "-p", parent)
	}
	id := o.Git("", args...)
	for _, ref := range refs {
		o.Git("", "update-ref", ref, id)
	}
	return id
}

// HoldsNo fails if a file or its name holds one of the texts.
func HoldsNo(t *testing.T, dir string, texts ...string) {
	t.Helper()
	below := os.DirFS(dir)
	err := fs.WalkDir(below, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var content []byte
		if e.Type().IsRegular() {
			if content, err = fs.ReadFile(below, path); err != nil {
				return err
			}
		}
		for _, text := range texts {
			if strings.Contains(path+string(content), text) {
				t.Errorf("%s holds %q", path, text)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Leftovers are the names in the directory for what isn't whole yet.
func Leftovers(t *testing.T, kept *shelf.Dir) []string {
	t.Helper()
	entries, err := os.ReadDir(kept.Entry(shelf.Temps, ""))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
