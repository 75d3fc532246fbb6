package registry_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

func encoded(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// guarded makes a registry that lets in only whoever shows an Authorization header with one of the values, and answers
// others with a challenge.
func guarded(t *testing.T, challenge string, values ...string) *fake {
	t.Helper()
	f := newFake(t)
	f.image("team/app", "1", []byte("x"), amd64())
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		for _, v := range values {
			if r.Header.Get("Authorization") == v {
				return false
			}
		}
		w.Header().Set("Www-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	return f
}

func TestARegistryThatWantsToKnowWhoAsks(t *testing.T) {
	for name, c := range map[string]struct {
		user, password string
		errs           []string
	}{
		"known":   {"ann", "secret", nil},
		"nobody":  {"", "", []string{"user name and a password", "cooper login "}},
		"unknown": {"ann", "wrong", []string{"401", "cooper login"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := guarded(t, `Basic realm="x"`, "Basic "+encoded("ann", "secret"))
			dir := registrytest.Home(t, "")
			if c.user != "" {
				registrytest.Write(t, filepath.Join(dir, "run/containers/auth.json"),
					fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, f.host(), encoded(c.user, c.password)))
			}
			_, _, err := pull(t.Context(), client(t, f, registry.Options{}), registrytest.Ref(t, f.host()+"/team/app:1"))
			registrytest.Wants(t, err, c.errs...)
			if err != nil && c.password != "" && strings.Contains(err.Error(), c.user+":"+c.password) {
				t.Errorf("the error tells the password: %v", err)
			}
			if _, err := registry.NewClient(registry.Options{AuthFile: dir + "/missing"}); err == nil {
				t.Error("a file of credentials is missing, and the client doesn't say so")
			}
		})
	}
}

func TestATokenIsAskedForAndShown(t *testing.T) {
	var asked []string
	answer := `{"token":"good","expires_in":300}`
	tokens := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		_ = r.ParseForm()
		asked = append(asked, fmt.Sprintf("%s scope=%s service=%s user=%s:%s refresh=%s", r.Method, r.Form.Get("scope"),
			r.Form.Get("service"), user, password, r.Form.Get("refresh_token")))
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(tokens.Close)
	challenge := fmt.Sprintf(`Bearer realm="%s/token?x=1", service="reg,\"istry", scope="repository:team/app:pull"`,
		tokens.URL)
	for _, c := range []struct {
		name, auth, answer, challenge string
		asked                         string
		errs                          []string
	}{
		{name: "anonymous", asked: `GET scope=repository:team/app:pull service=reg,"istry user=: refresh=`},
		{name: "user", auth: `{"auth":"` + encoded("ann", "secret") + `"}`,
			asked: `GET scope=repository:team/app:pull service=reg,"istry user=ann:secret refresh=`},
		{name: "identity token", auth: `{"auth":"` + encoded("ann", "") + `","identitytoken":"id"}`,
			asked: `POST scope=repository:team/app:pull service=reg,"istry user=: refresh=id`},
		{name: "access_token", answer: `{"access_token":"good"}`,
			asked: `GET scope=repository:team/app:pull service=reg,"istry user=: refresh=`},
		{name: "no scope", challenge: fmt.Sprintf(`Bearer realm="%s/token"`, tokens.URL),
			asked: `GET scope=repository:team/app:pull service= user=: refresh=`},
		{name: "no token", answer: `{}`, errs: []string{"gives no token"}},
		{name: "no JSON", answer: `<html>`, errs: []string{"gives no JSON"}},
		{name: "bad token", answer: `{"token":"bad"}`, errs: []string{"401"}},
		{name: "token with a line end", answer: `{"token":"good\r\nX: y"}`, errs: []string{"gives no token"}},
		{name: "no realm", challenge: "Bearer service=x", errs: []string{"no usable address"}},
		{name: "plain realm", challenge: `Bearer realm="http://127.0.0.1/"`, errs: []string{"not secure"}},
		{name: "file realm", challenge: `Bearer realm="file:///etc/passwd"`, errs: []string{"no usable address"}},
		{name: "unknown scheme", challenge: `Digest realm="x"`, errs: []string{"does not say how"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := registrytest.Home(t, "")
			asked, answer = nil, `{"token":"good","expires_in":300}`
			if c.answer != "" {
				answer = c.answer
			}
			if c.challenge == "" {
				c.challenge = challenge
			}
			f := guarded(t, c.challenge, "Bearer good")
			if c.auth != "" {
				registrytest.Write(t, dir+"/run/containers/auth.json", fmt.Sprintf(`{"auths":{%q:%s}}`, f.host(), c.auth))
			}
			_, _, err := pull(t.Context(), client(t, f, registry.Options{}), registrytest.Ref(t, f.host()+"/team/app:1"))
			registrytest.Wants(t, err, c.errs...)
			if len(c.errs) == 0 && (len(asked) != 1 || asked[0] != c.asked) {
				t.Errorf("asked for a token by %q, want once %q", asked, c.asked)
			}
		})
	}
}

func TestCredentialsAreShownToNobodyElse(t *testing.T) {
	dir := registrytest.Home(t, "")
	var leaked []string
	other := newFake(t) // another port is another host
	other.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if a := r.Header.Get("Authorization"); a != "" {
			leaked = append(leaked, a)
		}
		return false
	}
	f := guarded(t, `Basic realm="x"`, "Basic "+encoded("ann", "secret"))
	other.image("team/app", "1", []byte("x"), amd64())
	inner := f.before
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if inner(w, r) {
			return true
		}
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	registrytest.Write(t, dir+"/run/containers/auth.json", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, f.host(),
		encoded("ann", "secret")))
	if _, _, err := pull(t.Context(), client(t, f, registry.Options{}),
		registrytest.Ref(t, f.host()+"/team/app:1")); err != nil {
		t.Fatal(err)
	}
	if other.asked("") == 0 || len(leaked) > 0 {
		t.Errorf("%d requests to the other host, with %q", other.asked(""), leaked)
	}
	// A place that we were led to can't ask who we are.
	other.before = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Www-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		leaked = append(leaked, r.Header.Values("Authorization")...)
		return true
	}
	_, _, err := pull(t.Context(), client(t, f, registry.Options{}), registrytest.Ref(t, f.host()+"/team/app:1"))
	registrytest.Wants(t, err, "401")
	// Nor does a token server hand them on.
	tokens := newFake(t)
	tokens.before = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, other.URL+"/token", http.StatusTemporaryRedirect)
		return true
	}
	f.before = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Www-Authenticate", fmt.Sprintf("Bearer realm=%q", tokens.URL))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	_, _, err = pull(t.Context(), client(t, f, registry.Options{}), registrytest.Ref(t, f.host()+"/team/app:1"))
	registrytest.Wants(t, err, "token server redirects to")
	if len(leaked) > 0 {
		t.Errorf("leaked %q", leaked)
	}
}

func TestClientCertificatesAndAuthoritiesAreRead(t *testing.T) {
	dir := registrytest.Home(t, "")
	f := newFake(t)
	f.image("lib/app", "1", []byte("x"), amd64())
	name := f.host() + "/lib/app:1"
	t.Setenv("CONTAINERS_REGISTRIES_CONF", filepath.Join(dir, "registries.conf"))
	_, _, err := pull(t.Context(), client(t, nil, registry.Options{}), registrytest.Ref(t, name))
	registrytest.Wants(t, err, "certificate")
	text, err := os.ReadFile(filepath.Join(f.trust(t), "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, ".config/containers/certs.d", f.host())
	registrytest.Write(t, filepath.Join(at, "ca.crt"), string(text))
	_, _, err = pull(t.Context(), client(t, nil, registry.Options{}), registrytest.Ref(t, name))
	registrytest.Wants(t, err)
	for file, want := range map[string]string{"x.key": "missing client certificate x.cert",
		"x.cert": "missing key x.key"} {
		registrytest.Write(t, filepath.Join(at, file), "nothing")
		_, _, err = pull(t.Context(), client(t, nil, registry.Options{}), registrytest.Ref(t, name))
		registrytest.Wants(t, err, want)
		if err := os.Remove(filepath.Join(at, file)); err != nil {
			t.Fatal(err)
		}
	}
	registrytest.Write(t, filepath.Join(at, "x.crt"), "nothing") // podman passes over a file without a certificate
	_, _, err = pull(t.Context(), client(t, nil, registry.Options{}), registrytest.Ref(t, name))
	registrytest.Wants(t, err)
	_, _, err = pull(t.Context(), client(t, nil, registry.Options{CertDir: dir + "/missing"}), registrytest.Ref(t, name))
	registrytest.Wants(t, err, "missing", "no such file")
}
