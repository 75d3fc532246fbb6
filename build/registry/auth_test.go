package registry_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/registry"
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

func TestCredentialsAreFoundWherePodmanFindsThem(t *testing.T) {
	f := guarded(t, `Basic realm="x"`, "Basic "+encoded("ann", "secret"))
	auths := func(key, user, password string) string {
		return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, key, encoded(user, password))
	}
	host := f.host()
	helper := fmt.Sprintf(
		"#!/bin/sh\nread -r host\n[ \"$1\" = get ] || exit 1\n[ \"$host\" = %s ] || { echo 'credentials not found in native keychain'; exit 1; }\n"+
			"echo '{\"Username\":\"ann\",\"Secret\":\"secret\"}'\n", host)
	for _, c := range []struct {
		name string
		// files are below the home directory.
		files map[string]string
		env   map[string]string
		conf  string
		opts  registry.Options
		errs  []string
	}{
		{name: "none", errs: []string{"user name and a password", "cooper login " + host}},
		{name: "run-time file", files: map[string]string{"run/containers/auth.json": auths(host, "ann", "secret")}},
		{name: "user's file", files: map[string]string{".config/containers/auth.json": auths(host, "ann", "secret")}},
		{name: "docker's file", files: map[string]string{".docker/config.json": auths(host, "ann", "secret")}},
		{name: "docker's file as URL", files: map[string]string{".docker/config.json": auths("https://"+host+"/v1/", "ann",
			"secret")}},
		{name: "run-time file wins", files: map[string]string{"run/containers/auth.json": auths(host, "ann", "secret"),
			".docker/config.json": auths(host, "bob", "x")}},
		{name: "docker's directory", files: map[string]string{"d/config.json": auths(host, "ann", "secret")},
			env: map[string]string{"DOCKER_CONFIG": "HOME/d"}},
		{name: "file in the environment", files: map[string]string{"a.json": auths(host, "ann", "secret")},
			env: map[string]string{"REGISTRY_AUTH_FILE": "HOME/a.json"}},
		{name: "file named", files: map[string]string{"a.json": auths(host, "ann", "secret")},
			opts: registry.Options{AuthFile: "HOME/a.json"}},
		{name: "file named is the only one",
			files: map[string]string{"a.json": `{}`, ".docker/config.json": auths(host, "ann", "secret")},
			opts:  registry.Options{AuthFile: "HOME/a.json"}, errs: []string{"user name"}},
		{name: "file named is missing", opts: registry.Options{AuthFile: "HOME/a.json"},
			errs: []string{"a.json", "no such file"}},
		{name: "namespace", files: map[string]string{"run/containers/auth.json": auths(host+"/team", "ann", "secret")}},
		{name: "repository before namespace and host", files: map[string]string{"run/containers/auth.json": fmt.Sprintf(
			`{"auths":{%q:{"auth":%q},%q:{"auth":%q},%q:{"auth":%q}}}`, host, encoded("a", "a"), host+"/team", encoded("b", "b"),
			host+"/team/app", encoded("ann", "secret"))}},
		{name: "another namespace",
			files: map[string]string{"run/containers/auth.json": auths(host+"/other", "ann", "secret")},
			errs:  []string{"user name"}},
		{name: "another host", files: map[string]string{"run/containers/auth.json": auths("example.test", "ann", "secret")},
			errs: []string{"user name"}},
		{name: "wrong", files: map[string]string{"run/containers/auth.json": auths(host, "ann", "wrong")},
			errs: []string{"401", "cooper login"}},
		{name: "broken file", files: map[string]string{"run/containers/auth.json": `{"auths":`}, errs: []string{"auth.json"}},
		{name: "helper", files: map[string]string{"bin/docker-credential-test": helper,
			".docker/config.json": fmt.Sprintf(`{"credHelpers":{%q:"test"}}`, host)}},
		{name: "store", files: map[string]string{"bin/docker-credential-test": helper,
			".docker/config.json": `{"auths":{},"credsStore":"test"}`}},
		{name: "store that isn't installed",
			files: map[string]string{".docker/config.json": fmt.Sprintf(`{"credsStore":"nowhere","auths":{%q:{"auth":%q}}}`,
				host, encoded("ann", "secret"))}},
		{name: "helper that isn't installed",
			files: map[string]string{".docker/config.json": fmt.Sprintf(`{"credHelpers":{%q:"nowhere"}}`, host)},
			errs:  []string{"docker-credential-nowhere"}},
		{name: "helper that is a path",
			files: map[string]string{".docker/config.json": fmt.Sprintf(`{"credHelpers":{%q:"../x"}}`, host)},
			errs:  []string{"docker-credential-../x"}},
		{name: "helper in registries.conf", conf: `credential-helpers = ["test"]`,
			files: map[string]string{"bin/docker-credential-test": helper}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := home(t, c.conf)
			t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
			for name, text := range c.files {
				write(t, filepath.Join(dir, name), text)
				if err := os.Chmod(filepath.Join(dir, name), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for name, value := range c.env {
				t.Setenv(name, strings.ReplaceAll(value, "HOME", dir))
			}
			c.opts.AuthFile = strings.ReplaceAll(c.opts.AuthFile, "HOME", dir)
			c.opts.CertDir = f.trust(t)
			cl, err := registry.NewClient(c.opts)
			if err == nil {
				defer cl.Close()
				_, _, err = pull(t.Context(), cl, ref(t, host+"/team/app:1"))
			}
			wants(t, err, c.errs...)
			if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "wrong") &&
				c.name == "wrong" && strings.Contains(err.Error(), "ann:wrong")) {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

func TestAnAuthFileOfSomebodyElseIsPassedOver(t *testing.T) {
	f := guarded(t, `Basic realm="x"`, "Basic "+encoded("ann", "secret"))
	dir := home(t, "")
	write(t, filepath.Join(dir, ".docker/config.json"), fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, f.host(),
		encoded("ann", "secret")))
	at := filepath.Join(dir, "run/containers/auth.json")
	write(t, at, "{}")
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/sys/vm/compact_memory", at); err != nil { // nobody may read it, not even root
		t.Fatal(err)
	}
	if _, err := os.ReadFile(at); !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("reading %s gives %v, no error of permission", at, err)
	}
	_, _, err := pull(t.Context(), client(t, f, registry.Options{}), ref(t, f.host()+"/team/app:1"))
	wants(t, err)
	_, _, err = pull(t.Context(), client(t, f, registry.Options{AuthFile: at}), ref(t, f.host()+"/team/app:1"))
	wants(t, err, "permission denied", at)
}

func TestAHelperThatHangsHoldsNobodyUp(t *testing.T) {
	f := guarded(t, `Basic realm="x"`, "Basic "+encoded("ann", "secret"))
	dir := home(t, `credential-helpers = ["test"]`)
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	// The helper ends with the test, which removes the directory.
	helper := filepath.Join(dir, "bin/docker-credential-test")
	write(t, helper, fmt.Sprintf("#!/bin/sh\n>%[1]s/asked\nwhile [ -e %[1]s/asked ]; do sleep 0.1; done\n", dir))
	if err := os.Chmod(helper, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no more")
	go func() {
		for {
			if _, err := os.Stat(dir + "/asked"); err == nil {
				cancel(why)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, _, err := pull(ctx, client(t, f, registry.Options{}), ref(t, f.host()+"/team/app:1")); !errors.Is(err, why) {
		t.Errorf("error %v", err)
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
			dir := home(t, "")
			asked, answer = nil, `{"token":"good","expires_in":300}`
			if c.answer != "" {
				answer = c.answer
			}
			if c.challenge == "" {
				c.challenge = challenge
			}
			f := guarded(t, c.challenge, "Bearer good")
			if c.auth != "" {
				write(t, dir+"/run/containers/auth.json", fmt.Sprintf(`{"auths":{%q:%s}}`, f.host(), c.auth))
			}
			_, _, err := pull(t.Context(), client(t, f, registry.Options{}), ref(t, f.host()+"/team/app:1"))
			wants(t, err, c.errs...)
			if len(c.errs) == 0 && (len(asked) != 1 || asked[0] != c.asked) {
				t.Errorf("asked for a token by %q, want once %q", asked, c.asked)
			}
		})
	}
}

func TestCredentialsAreShownToNobodyElse(t *testing.T) {
	dir := home(t, "")
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
	write(t, dir+"/run/containers/auth.json", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, f.host(),
		encoded("ann", "secret")))
	if _, _, err := pull(t.Context(), client(t, f, registry.Options{}), ref(t, f.host()+"/team/app:1")); err != nil {
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
	_, _, err := pull(t.Context(), client(t, f, registry.Options{}), ref(t, f.host()+"/team/app:1"))
	wants(t, err, "401")
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
	_, _, err = pull(t.Context(), client(t, f, registry.Options{}), ref(t, f.host()+"/team/app:1"))
	wants(t, err, "token server redirects to")
	if len(leaked) > 0 {
		t.Errorf("leaked %q", leaked)
	}
}

func TestClientCertificatesAndAuthoritiesAreRead(t *testing.T) {
	dir := home(t, "")
	f := newFake(t)
	f.image("lib/app", "1", []byte("x"), amd64())
	name := f.host() + "/lib/app:1"
	t.Setenv("CONTAINERS_REGISTRIES_CONF", filepath.Join(dir, "registries.conf"))
	_, _, err := pull(t.Context(), client(t, nil, registry.Options{}), ref(t, name))
	wants(t, err, "certificate")
	text, err := os.ReadFile(filepath.Join(f.trust(t), "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, ".config/containers/certs.d", f.host())
	write(t, filepath.Join(at, "ca.crt"), string(text))
	_, _, err = pull(t.Context(), client(t, nil, registry.Options{}), ref(t, name))
	wants(t, err)
	for file, want := range map[string]string{"x.key": "missing client certificate x.cert",
		"x.cert": "missing key x.key"} {
		write(t, filepath.Join(at, file), "nothing")
		_, _, err = pull(t.Context(), client(t, nil, registry.Options{}), ref(t, name))
		wants(t, err, want)
		if err := os.Remove(filepath.Join(at, file)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(at, "x.crt"), "nothing") // podman passes over a file without a certificate
	_, _, err = pull(t.Context(), client(t, nil, registry.Options{}), ref(t, name))
	wants(t, err)
	_, _, err = pull(t.Context(), client(t, nil, registry.Options{CertDir: dir + "/missing"}), ref(t, name))
	wants(t, err, "missing", "no such file")
}
