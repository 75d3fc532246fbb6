package tests_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// contextServer serves contexts on the loopback interface and counts what is asked for by path.
type contextServer struct {
	*httptest.Server
	asked atomic.Int64
}

func newContextServer(t *testing.T, files map[string][]byte) *contextServer {
	t.Helper()
	s := &contextServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		_, password, _ := r.BasicAuth()
		allowed := password == "pass-word" || r.Header.Get("Authorization") == "Bearer pass-word"
		if strings.HasPrefix(r.URL.Path, "/closed/") && !allowed {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		text, ok := files[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/cut") {
			w.Header().Set("Content-Length", fmt.Sprint(2*len(text)))
		}
		_, _ = w.Write(text) // a client that goes away is its own matter
	}))
	t.Cleanup(s.Close)
	return s
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestContextByURL builds from archives and Dockerfiles that a server gives.
func TestContextByURL(t *testing.T) {
	const file = "FROM scratch\nCOPY . /all/\n"
	archive := tarOf(t, 0, map[string]string{
		"Dockerfile": file, "sub/Other": "FROM scratch\nCOPY kept /\n", "kept": "K", "hidden": "H",
		".dockerignore": "hidden\nDockerfile\n",
	})
	alone := []byte("FROM scratch\nCOPY <<END /alone\ntext\nEND\n")
	server := newContextServer(t, map[string][]byte{
		"/app.tar.gz": gzipped(t, archive), "/closed/app.tar": archive, "/Dockerfile": alone, "/cut": gzipped(t, archive),
		"/evil.tar": hostileTarUp(t), "/inside": []byte("FROM scratch\nCOPY kept /\n"),
	})
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "dir/kept", "K")
		s.write(t, "dir/.dockerignore", "Dockerfile\n")
		s.write(t, "token", "pass-word")
		whole := s.build(t, "-o", "type=oci,dest=url.tar", server.URL+"/app.tar.gz")
		files := mustFiles(t, s.path("url.tar"))
		if files["all/kept"].Header == nil || files["all/hidden"].Header != nil || files["all/Dockerfile"].Header != nil {
			t.Errorf("files: %v", files)
		}
		for name, c := range map[string]struct {
			args []string
			// like is the image ID; fails a part of the error.
			like, fails string
		}{
			"credentials": {args: []string{strings.Replace(server.URL, "://", "://user:pass-word@", 1) +
				"/closed/app.tar"}, like: whole},
			"no credentials": {args: []string{server.URL + "/closed/app.tar"}, fails: "403"},
			"wrong credentials": {args: []string{strings.Replace(server.URL, "://", "://user:wrong-word@", 1) +
				"/closed/app.tar"}, fails: "403"},
			"a token": {
				args: []string{"--secret", "id=HTTP_AUTH_TOKEN_127.0.0.1,src=" + s.path("token"), server.URL + "/closed/app.tar"},
				like: whole,
			},
			"nothing there":     {args: []string{server.URL + "/missing.tar"}, fails: "404"},
			"a cut archive":     {args: []string{server.URL + "/cut"}, fails: server.URL},
			"a hostile archive": {args: []string{server.URL + "/evil.tar"}, fails: "leads out"},
			"a file of it":      {args: []string{"-f", "sub/Other", server.URL + "/app.tar.gz"}},
			"no such file of it": {args: []string{"-f", "sub/Missing", server.URL + "/app.tar.gz"},
				fails: "has no sub/Missing"},
			"a Dockerfile":            {args: []string{server.URL + "/Dockerfile"}},
			"a Dockerfile and -f":     {args: []string{"-f", "x", server.URL + "/Dockerfile"}, fails: "leave one of them out"},
			"-f by URL":               {args: []string{"-f", server.URL + "/inside", "dir"}},
			"-f by URL that is wrong": {args: []string{"-f", server.URL + "/missing", "dir"}, fails: "404"},
			"-f by URL and a URL":     {args: []string{"-f", server.URL + "/inside", server.URL + "/app.tar.gz"}},
		} {
			r := s.cooper(t, append([]string{"build"}, c.args...)...)
			switch {
			case (r.Code != 0) != (c.fails != ""), !strings.Contains(r.Stderr, c.fails):
				t.Errorf("%s: status %d, %s", name, r.Code, r.Stderr)
			case c.like != "" && strings.TrimSpace(r.Stdout) != c.like:
				t.Errorf("%s: %s, not %s", name, r.Stdout, c.like)
			}
			if strings.Contains(r.Stderr, "-word") {
				t.Errorf("%s shows a password: %s", name, r.Stderr)
			}
		}
		s.checkNoLeftovers(t)
	})
}

// hostileTarUp is an archive with a member that leads out of it.
func hostileTarUp(t *testing.T) []byte {
	t.Helper()
	return tarOf(t, 0, map[string]string{"Dockerfile": "FROM scratch\n", "../../up": "U"})
}

// TestNamedContextByURL takes a URL for a named context, which only a step that uses it asks for.
func TestNamedContextByURL(t *testing.T) {
	archive := tarOf(t, 0, map[string]string{"d/f": "F"})
	eachMode(t, func(t *testing.T, m mode) {
		server := newContextServer(t, map[string][]byte{"/src.tar": archive, "/data.json": []byte("{}")})
		s := newSite(t, m)
		s.write(t, "ctx/Dockerfile",
			"FROM scratch AS used\nCOPY --from=src . /src/\nFROM scratch AS unused\nCOPY --from=src . /src/\nFROM scratch AS last\n")
		before := server.asked.Load()
		s.build(t, "--build-context", "src="+server.URL+"/src.tar", "ctx")
		if asked := server.asked.Load() - before; asked != 0 {
			t.Errorf("a context that isn't used was asked for %d times", asked)
		}
		for ref, want := range map[string]string{"/src.tar": "src/d/f", "/data.json": "src/context"} {
			s.build(t, "--build-context", "src="+server.URL+ref, "--target", "used", "-o", "type=oci,dest=named.tar", "ctx")
			if files := mustFiles(t, s.path("named.tar")); files[want].Header == nil {
				t.Errorf("%s: %v", ref, files)
			}
		}
		r := s.cooper(t, "build", "--build-context", "src="+server.URL+"/missing", "--target", "used", "ctx")
		if r.Code != 1 || !strings.Contains(r.Stderr, "ctx/Dockerfile:2") || !strings.Contains(r.Stderr, "404") {
			t.Errorf("status %d, %s", r.Code, r.Stderr)
		}
		s.checkNoLeftovers(t)
	})
}
