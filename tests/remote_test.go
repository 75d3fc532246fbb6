package tests_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

// serverKey is where a script's Env keeps its server.
type serverKey struct{}

// A server gives out the files and git repositories of a directory over http, on the loopback interface. What is below
// /private/ is for user "user" with the password "hunter2", or with the token "tok-en".
type server struct {
	*httptest.Server
	requests atomic.Int64
}

func newServer(dir string) (*server, error) {
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return nil, err
	}
	repos := &cgi.Handler{
		Stderr: io.Discard,
		Path:   filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=/dev/null",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	}
	files := http.FileServer(http.Dir(dir))
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		user, password, _ := r.BasicAuth()
		known := user == "user" && password == "hunter2" || user == "x-access-token" && password == "tok-en" ||
			r.Header.Get("Authorization") == "Bearer tok-en"
		switch {
		case strings.HasPrefix(r.URL.Path, "/private/") && !known:
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case strings.Contains(r.URL.Path, ".git/"):
			repos.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/moved/"):
			http.Redirect(w, r, strings.TrimPrefix(r.URL.Path, "/moved"), http.StatusFound)
		default:
			files.ServeHTTP(w, r)
		}
	}))
	return s, nil
}

// scriptServe starts the server and sets URL, and HOSTPORT for what follows the scheme.
func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serve DIR")
	}
	s, err := newServer(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(s.Close)
	ts.Setenv("URL", s.URL)
	ts.Setenv("HOSTPORT", strings.TrimPrefix(s.URL, "http://"))
	kept, ok := ts.Value(serverKey{}).(*atomic.Pointer[server])
	if !ok {
		ts.Fatalf("the script has no place for a server")
	}
	kept.Store(s)
}

// scriptRequests checks how many requests have come since it was asked last.
func scriptRequests(ts *testscript.TestScript, neg bool, args []string) {
	kept, ok := ts.Value(serverKey{}).(*atomic.Pointer[server])
	if !ok || kept.Load() == nil || len(args) != 1 {
		ts.Fatalf("usage: [!] requests N, after serve")
	}
	if got := fmt.Sprint(kept.Load().requests.Swap(0)); (got == args[0]) == neg {
		ts.Fatalf("%s requests", got)
	}
}
