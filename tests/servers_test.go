package tests_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// distribution compiles the server of the module in the directory distribution, once.
var distribution = sync.OnceValues(func() (string, error) {
	program := filepath.Join(suite.dir, "distribution")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, ".")
	cmd.Dir, cmd.Env = "distribution", append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("compile the registry of the distribution project: %w\n%s", err, out)
	}
	return program, os.Chmod(program, 0o755)
})

// A registryProgram is a registry's name and the beginning of its command line.
type registryProgram struct {
	name string
	args []string
}

// servers are the programs that serve a registry, with the arguments before the configuration file.
func servers(t *testing.T) []registryProgram {
	t.Helper()
	newer, err := distribution()
	if err != nil {
		t.Fatal(err)
	}
	return []registryProgram{{"docker-registry", []string{"docker-registry", "serve"}}, {"distribution", []string{newer}}}
}

// A safe registry has a certificate that nobody knows and wants credentials.
type safe struct {
	*site
	address string
	// certs is a directory for --cert-dir.
	certs string
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
}

// certify makes the key and the certificate of all servers of a site.
func (s *site) certify(t *testing.T) *safe {
	t.Helper()
	f := &safe{site: s, certs: s.path("certs")}
	var err error
	if f.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, f.key.Public(), f.key)
	if err != nil {
		t.Fatal(err)
	}
	if f.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalECPrivateKey(f.key)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "certs/ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	s.write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})))
	return f
}

// listen starts a server with the certificate, until the test ends.
func (f *safe) listen(t *testing.T, handler http.Handler) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{f.cert.Raw}, PrivateKey: f.key}}}
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections() // or Close waits for them
		server.Close()
	})
	return strings.TrimPrefix(server.URL, "https://")
}

// client trusts the certificate.
func (f *safe) client() *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(f.cert)
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
}

// serve starts a registry of this kind. auth are lines of its configuration.
func (f *safe) serve(t *testing.T, program []string, auth string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.address = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f.write(t, "registry.yml", fmt.Sprintf("version: 0.1\nlog: {level: error}\n"+
		"storage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q, relativeurls: true, secret: x, "+
		"tls: {certificate: %s, key: %s}}\n%s", f.path("registry"), f.address,
		f.path("certs/ca.crt"), f.path("key.pem"), auth))
	cmd := f.command(program[0], append(program[1:], f.path("registry.yml"))...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
	})
	client := f.client()
	eventually(t, func() string { return "the registry doesn't answer" }, func() bool {
		resp, err := client.Get("https://" + f.address + "/v2/")
		return err == nil && resp.Body.Close() == nil
	})
}

// tokens is a token server for ann with the password secret. It notes what it was asked for.
type tokens struct {
	*safe
	mu    sync.Mutex
	asked []string
}

const tokenService = "the registry"

func (s *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); user != "ann" || password != "secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	scopes := r.URL.Query()["scope"]
	s.mu.Lock()
	s.asked = append(s.asked, strings.Join(scopes, " "))
	s.mu.Unlock()
	type access struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	all := []access{}
	for _, scope := range scopes {
		parts := strings.Split(scope, ":")
		all = append(all, access{parts[0], parts[1], strings.Split(parts[2], ",")})
	}
	now := time.Now().Unix()
	token, err := s.signed(map[string]any{"iss": "the test", "sub": "ann", "aud": tokenService, "iat": now,
		"nbf": now - 10, "exp": now + 300, "jti": fmt.Sprint(time.Now().UnixNano()), "access": all})
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 300}) // whoever has gone needs none
}

// signed is a token with claims.
func (f *safe) signed(claims map[string]any) (string, error) {
	head, err := json.Marshal(map[string]any{"typ": "JWT", "alg": "ES256", "x5c": [][]byte{f.cert.Raw}})
	body, bodyErr := json.Marshal(claims)
	if err := errors.Join(err, bodyErr); err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode(head) + "." + encode(body)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, f.key, sum[:])
	if err != nil {
		return "", err
	}
	return text + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)), nil
}

func TestRegistriesOfAllKindsTakeAndGiveImages(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for i, r := range servers(t) {
			for j, auth := range []string{"password", "token", "helper"} {
				if !m.takes(i + j) {
					continue
				}
				t.Run(r.name+"/"+auth, func(t *testing.T) {
					t.Parallel()
					s := newSite(t, m)
					f := s.certify(t)
					issuer := &tokens{safe: f}
					if auth == "token" {
						f.serve(t, r.args, fmt.Sprintf("auth: {token: {realm: %q, service: %q, issuer: the test, "+
							"rootcertbundle: %s}}\n", "https://"+f.listen(t, issuer)+"/token", tokenService, f.path("certs/ca.crt")))
					} else {
						s.write(t, "htpasswd", htpasswd)
						f.serve(t, r.args, "auth: {htpasswd: {realm: test, path: "+s.path("htpasswd")+"}}\n")
					}
					f.use(t, auth == "helper")
					if auth == "token" && len(issuer.asked) == 0 {
						t.Error("the token server was not asked")
					}
				})
			}
		}
	})
}

// use logs in, pushes an image and pulls it again.
func (f *safe) use(t *testing.T, helper bool) {
	t.Helper()
	s := f.site
	s.busybox(t, "base")
	s.build(t, "-t", "base", "busybox")
	certs := []string{"--cert-dir", f.certs}
	s.write(t, "auth.json", "{}")
	if helper {
		s.write(t, "bin/docker-credential-test", "#!/bin/sh\ncase $1 in\nget) cat "+s.path("kept")+" ;;\n"+
			"store) cat >"+s.path("kept")+" ;;\nesac\n")
		if err := os.Chmod(s.path("bin/docker-credential-test"), 0o755); err != nil {
			t.Fatal(err)
		}
		s.env = append(s.env, "PATH="+s.path("bin")+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
		s.write(t, "auth.json", fmt.Sprintf(`{"credHelpers":{%q:"test"}}`, f.address))
	}
	file := []string{"--authfile", s.path("auth.json")}
	name := f.address + "/lib/app:1"
	anonymous := append([]string{"push", "--authfile", s.path("none.json"), "base", name}, certs...)
	if r := s.cooper(t, anonymous...); r.Code != 1 {
		t.Errorf("without credentials: status %d\n%s", r.Code, tail(r.Stderr))
	}
	if r := s.cooperReads(t, "secret\n", append(append([]string{"login", "-u", "ann", "--password-stdin", f.address},
		certs...), file...)...); r.Code != 0 {
		t.Fatalf("log in: status %d\n%s", r.Code, tail(r.Stderr))
	}
	if text := s.read(t, "auth.json"); helper == strings.Contains(text, `"auth":`) {
		t.Errorf("the file has\n%s", text)
	}
	args := append(append([]string{"push", "base", name, f.address + "/team/app:2"}, certs...), file...)
	first := s.mustCooper(t, args...)
	if again := s.mustCooper(t, args...); again != first {
		t.Errorf("pushed %s and then %s", first, again)
	}
	s.write(t, "ctx/Containerfile", "FROM "+name+"\nRUN test -e /etc/passwd\n")
	s.mustCooper(t, "rmi", "-f", "base")
	s.build(t, append(append([]string{"--push", "-t", f.address + "/lib/next:1", "ctx"}, certs...), file...)...)
	s.run(t, "skopeo", append([]string{"inspect", "--cert-dir", f.certs, "docker://" + f.address + "/lib/next:1"},
		file...)...)
}
