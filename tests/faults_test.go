package tests_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// faulty is a proxy before a registry, which answers some requests itself.
type faulty struct {
	// meet answers a request itself, and tells whether it has.
	meet func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex
	asked []string
	// met counts the faults by their names.
	met map[string]int
	// open are the paths of uploads that the registry has begun and that were neither ended nor cancelled.
	open map[string]bool
}

// before starts the proxy and gives its address. The registry's own answers lead to it.
func (p *faulty) before(t *testing.T, f *safe) (address string) {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: f.address})
	proxy.Transport = f.client().Transport
	p.open = map[string]bool{}
	proxy.ModifyResponse = func(r *http.Response) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch at, err := r.Location(); {
		case r.Request.Method == http.MethodPost && r.StatusCode == http.StatusAccepted && err == nil:
			p.open[at.Path] = true
		case r.Request.Method == http.MethodPut && r.StatusCode == http.StatusCreated:
			delete(p.open, r.Request.URL.Path)
		}
		return nil
	}
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	return f.listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, r.Method+" "+r.URL.Path)
		if r.Method == http.MethodDelete {
			// A registry of the distribution project doesn't cancel what it has got a part of in a request that broke: the
			// address of the upload says another offset.
			delete(p.open, r.URL.Path)
		}
		p.mu.Unlock()
		if p.meet == nil || !p.meet(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
}

// requests are those since the last call.
func (p *faulty) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.asked
	p.asked = nil
	return all
}

// once tells whether a fault has happened fewer than n times.
func (p *faulty) once(name string, n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.met == nil {
		p.met = map[string]int{}
	}
	p.met[name]++
	return p.met[name] <= n
}

// TestFaultsOfTheNetworkChangeNothing has each fault happen to a push of several layers and to the pull of it.
func TestFaultsOfTheNetworkChangeNothing(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for i, r := range servers(t) {
			if !m.takes(i) {
				continue
			}
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, m)
				f := s.certify(t)
				s.write(t, "htpasswd", htpasswd)
				f.serve(t, r.args, "auth: {htpasswd: {realm: test, path: "+s.path("htpasswd")+"}}\n")
				p := &faulty{}
				seen := make(chan string, 100)
				elsewhere := f.listen(t, f.stranger(seen))
				p.meet = p.faults(elsewhere)
				address := p.before(t, f)
				s.busybox(t, "base")
				// Layers that gzip can't shrink: small ones and one that is sent while it is compressed.
				s.write(t, "ctx/Containerfile", "FROM base\nRUN head -c 3000000 /dev/urandom >/large\n"+
					"RUN head -c 100000 /dev/urandom >/small\n")
				s.build(t, "-t", "base", "busybox")
				s.build(t, "-t", "app", "ctx")
				options := []string{"--cert-dir", f.certs, "--authfile", s.path("auth.json")}
				s.write(t, "auth.json", "{}")
				if r := s.cooperReads(t, "secret\n", append([]string{"login", "-u", "ann", "--password-stdin", address},
					options...)...); r.Code != 0 {
					t.Fatalf("log in: status %d\n%s", r.Code, tail(r.Stderr))
				}
				s.mustCooper(t, append([]string{"push", "app", address + "/lib/app:1"}, options...)...)
				other := newSite(t, m)
				other.write(t, "ctx/Containerfile", "FROM "+address+"/lib/app:1\nRUN sha256sum /large /small >/sums\n")
				other.write(t, "certs/ca.crt", s.read(t, "certs/ca.crt"))
				other.write(t, "auth.json", s.read(t, "auth.json"))
				pull := []string{"--cert-dir", other.path("certs"), "--authfile", other.path("auth.json"), "ctx"}
				if r := other.cooper(t, append([]string{"build"}, pull...)...); r.Code != 1 ||
					!strings.Contains(r.Stderr, "make it again, or don't trust it") {
					t.Errorf("wrong bytes: status %d\n%s", r.Code, tail(r.Stderr))
				}
				other.build(t, pull...)
				for _, fault := range []string{"busy", "down", "reset of a push", "stall of a push", "redirect of a push",
					"reset of a pull", "wrong bytes", "redirect of a pull"} {
					if p.met[fault] == 0 {
						t.Errorf("%q has not happened: %v", fault, slices.Sorted(maps.Keys(p.met)))
					}
				}
				close(seen)
				for credentials := range seen {
					if credentials != "" {
						t.Errorf("another host was shown %q", credentials)
					}
				}
			})
		}
	})
}

// stranger is another host that takes and gives what the registry has: it asks the registry with credentials of its
// own.
func (f *safe) stranger(seen chan<- string) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: f.address})
	proxy.Transport = f.client().Transport
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("Authorization")
		r.SetBasicAuth("ann", "secret")
		proxy.ServeHTTP(w, r)
	})
}

// faults gives all faults.
func (p *faulty) faults(elsewhere string) func(w http.ResponseWriter, r *http.Request) bool {
	abort := func(read io.Reader) {
		_, _ = io.Copy(io.Discard, read)
		panic(http.ErrAbortHandler)
	}
	return func(w http.ResponseWriter, r *http.Request) bool {
		blob := strings.Contains(r.URL.Path, "/blobs/sha256:")
		switch {
		case r.Method == http.MethodHead && blob && p.once("busy", 1):
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case r.Method == http.MethodPost && p.once("down", 1):
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Method == http.MethodPatch && p.once("reset of a push", 1):
			abort(io.LimitReader(r.Body, 3<<20))
		case r.Method == http.MethodPatch && p.once("stall of a push", 1):
			time.Sleep(2 * time.Second) // it is the fault
			abort(http.NoBody)
		case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/uploads/") && p.once("redirect of a push", 1):
			http.Redirect(w, r, "https://"+elsewhere+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		case r.Method == http.MethodGet && blob && p.once("reset of a pull", 1):
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(make([]byte, 1000))
			abort(http.NoBody)
		case r.Method == http.MethodGet && blob && p.once("wrong bytes", 1):
			w.WriteHeader(http.StatusOK)
			_, _ = w.Write(make([]byte, 1000))
		case r.Method == http.MethodGet && blob && p.once("redirect of a pull", 2):
			http.Redirect(w, r, "https://"+elsewhere+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		default:
			return false
		}
		return true
	}
}

// TestAnUnchangedImageIsPushedInThreeRequests counts the challenge, the token and the question for the tag.
func TestAnUnchangedImageIsPushedInThreeRequests(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for i, r := range servers(t) {
			if !m.takes(i) {
				continue
			}
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, m)
				f := s.certify(t)
				issuer := &tokens{safe: f}
				f.serve(t, r.args, "auth: {token: {realm: \"https://"+f.listen(t, issuer)+"/token\", service: \""+tokenService+
					"\", issuer: the test, rootcertbundle: "+f.path("certs/ca.crt")+"}}\n")
				p := &faulty{}
				address := p.before(t, f)
				s.busybox(t, "base")
				s.build(t, "-t", "base", "busybox")
				push := []string{"push", "base", address + "/lib/app:1", "--cert-dir", f.certs, "--creds", "ann:secret"}
				first := s.mustCooper(t, push...)
				p.requests()
				issuer.asked = nil
				if again := s.mustCooper(t, push...); again != first {
					t.Errorf("pushed %s and then %s", first, again)
				}
				if asked := append(p.requests(), issuer.asked...); len(asked) > 3 {
					t.Errorf("%d requests: %q", len(asked), asked)
				}
			})
		}
	})
}

// TestAPushThatIsEndedLeavesNoTag ends pushes at each of their requests.
func TestAPushThatIsEndedLeavesNoTag(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for i, r := range servers(t) {
			for j, by := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
				if !m.takes(i + j) {
					continue
				}
				t.Run(r.name+"/"+by.String(), func(t *testing.T) {
					t.Parallel()
					endPushes(t, m, r.args, by)
				})
			}
		}
	})
}

func endPushes(t *testing.T, m mode, program []string, by syscall.Signal) {
	t.Helper()
	s := newSite(t, m)
	f := s.certify(t)
	f.serve(t, program, "")
	p := &faulty{}
	address := p.before(t, f)
	// A layer that gzip can't shrink, which is sent in parts, between small ones that are sent whole.
	large := make([]byte, 3<<19)
	_, _ = rand.Read(large) // it never fails
	s.write(t, "ctx/large", string(large))
	s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY Containerfile /\nCOPY large /\nCOPY Containerfile /again\n")
	s.build(t, "-t", "app", "ctx")
	for n := 1; ; n++ {
		var mu sync.Mutex
		count, reached, tagged := 0, make(chan struct{}), false
		p.meet = func(_ http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			if count++; count == n {
				close(reached)
			}
			tagged = tagged || r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/1")
			return false
		}
		repository := fmt.Sprint("lib/app", n)
		cmd := s.command(suite.cooper, "push", "--cert-dir", f.certs, "app", address+"/"+repository+":1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-reached:
			_ = cmd.Process.Signal(by) // it may have ended by itself
			<-ended
		case <-ended:
		}
		mu.Lock()
		whole := tagged
		mu.Unlock()
		resp, err := f.client().Get("https://" + f.address + "/v2/" + repository + "/manifests/1")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close() // the status says enough
		if whole {
			break // the request for the tag came before the end
		}
		if resp.StatusCode != http.StatusNotFound {
			t.Fatalf("ended at request %d: the tag has status %d", n, resp.StatusCode)
		}
		if by == syscall.SIGINT {
			p.mu.Lock()
			if len(p.open) > 0 {
				t.Errorf("uploads are left open: %v after %q", p.open, p.asked)
			}
			p.asked, p.open = nil, map[string]bool{}
			p.mu.Unlock()
		}
		if n > 100 {
			t.Fatal("a push without end")
		}
	}
}

// TestATokenThatEndsOnTheWayIsRenewed has tokens end in the upload of a large layer, before the tag, and in a pull that
// breaks in the middle of a layer.
func TestATokenThatEndsOnTheWayIsRenewed(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		f := s.certify(t)
		issuer := &tokens{safe: f}
		realm := "https://" + f.listen(t, issuer) + "/token"
		f.serve(t, []string{"docker-registry", "serve"}, fmt.Sprintf("auth: {token: {realm: %q, service: %q, "+
			"issuer: the test, rootcertbundle: %s}}\n", realm, tokenService, f.path("certs/ca.crt")))
		p := &faulty{}
		var mu sync.Mutex
		over := map[string]bool{} // tokens that have ended
		p.meet = func(w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			token := r.Header.Get("Authorization")
			broken := r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/sha256:") && p.once("a pull", 1)
			if broken || r.Method == http.MethodPatch && p.once("an upload", 1) ||
				r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") && p.once("the tag", 1) {
				over[token] = true
			}
			if broken {
				w.Header().Set("Content-Length", "10000000")
				panic(http.ErrAbortHandler)
			}
			if over[token] {
				w.Header().Set("Www-Authenticate", fmt.Sprintf("Bearer realm=%q,service=%q,scope=%q,error=\"invalid_token\"",
					realm, tokenService, "repository:lib/app:pull,push"))
				w.WriteHeader(http.StatusUnauthorized)
			}
			return over[token]
		}
		address := p.before(t, f)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", "FROM base\nRUN head -c 10000000 /dev/urandom >/large\n"+
			"RUN head -c 100000 /dev/urandom >/small\n")
		s.build(t, "-t", "base", "busybox")
		s.build(t, "-t", "app", "ctx")
		reach := []string{"--cert-dir", f.certs, "--creds", "ann:secret", "--retry=0"}
		s.mustCooper(t, append([]string{"push", "app", address + "/lib/app:1"}, reach...)...)
		other := newSite(t, m)
		other.write(t, "certs/ca.crt", s.read(t, "certs/ca.crt"))
		reach[1] = other.path("certs")
		other.mustCooper(t, append([]string{"pull", address + "/lib/app:1"}, reach...)...)
		if len(over) != 3 || len(issuer.asked) < 5 {
			t.Errorf("%d tokens have ended, and %d were given", len(over), len(issuer.asked))
		}
	})
}
