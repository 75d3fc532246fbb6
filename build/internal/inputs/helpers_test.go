package inputs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/progress"
)

func TestMain(m *testing.M) {
	os.Exit(storetest.Main(m))
}

// events are what is shown.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) Emit(event progress.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, fmt.Sprintf("%+v", event))
}

func (e *events) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.all, "\n")
}

// newContexts gives contexts in a store of their own. At the end of the test nothing that was unpacked may be left.
func newContexts(t *testing.T, o Options) (*Contexts, *events) {
	t.Helper()
	st := storetest.Open(t, store.Options{Driver: "vfs"}).Store
	shown := &events{}
	o.Progress, o.Shown = shown, progress.NewAsides(shown)
	if o.Secret == nil {
		o.Secret = func(string) ([]byte, bool) { return nil, false }
	}
	c := New(o, st)
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), c.Close()); err != nil {
			t.Error(err)
		}
		if left, err := filepath.Glob(filepath.Join(st.Paths().Own, "tmp", "*", "*")); len(left) > 0 || err != nil {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	return c, shown
}

// list is what a context holds: each path with its content, or where it is a link to.
func list(t *testing.T, c *Context) string {
	t.Helper()
	root := fmt.Sprintf("/proc/self/fd/%d", c.Dir.Root().Fd())
	var all []string
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || path == ".":
			return err
		case d.Name() == ".git":
			all = append(all, ".git")
			return fs.SkipDir
		case d.IsDir():
			all = append(all, path+"/")
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(filepath.Join(root, path))
			all = append(all, path+" -> "+to)
			return err
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		all = append(all, path+"="+strings.TrimSpace(string(text)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// plant makes files of PATH=TEXT in a directory.
func plant(t *testing.T, dir string, files ...string) string {
	t.Helper()
	for _, f := range files {
		name, text, _ := strings.Cut(f, "=")
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tarOf is an archive of files of PATH=TEXT, links of PATH->TARGET, and what else is given.
func tarOf(t *testing.T, files []string, more ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		if name, to, isLink := strings.Cut(f, "->"); isLink {
			more = append(more, tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to})
			continue
		}
		name, text, _ := strings.Cut(f, "=")
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range more {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// serve serves bytes at each path.
func serve(t *testing.T, at map[string][]byte) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := at[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Last-Modified", "Thu, 02 Jan 2020 03:04:05 GMT")
		_, _ = w.Write(text)
	}))
	t.Cleanup(s.Close)
	return s
}

// repository serves a git repository with files of PATH=TEXT: its URL.
func repository(t *testing.T, files ...string) string {
	t.Helper()
	parent := t.TempDir()
	dir := filepath.Join(parent, "r.git")
	git := func(args ...string) string {
		args = append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"},
			args...)
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+parent)
		if _, err := os.Stat(dir); err == nil {
			cmd.Dir = dir
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", dir)
	plant(t, dir, files...)
	git("add", "-A")
	git("commit", "-q", "-m", "one")
	s := httptest.NewServer(&cgi.Handler{
		Stderr: io.Discard, Path: filepath.Join(git("--exec-path"), "git-http-backend"),
		Env: []string{"GIT_PROJECT_ROOT=" + parent, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + parent,
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	})
	t.Cleanup(s.Close)
	return s.URL + "/r.git"
}

// fifo makes a named pipe.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
