package tests_test

import (
	"os"
	"strings"
	"testing"
)

// TestTheCommandsOfTheRegistriesPageWork runs the lines of docs/registries.md, one after the other, with a registry on
// this machine in place of the one that they name. A terminal answers the login that asks for a name and a password.
func TestTheCommandsOfTheRegistriesPageWork(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		page, err := os.ReadFile("../docs/registries.md")
		if err != nil {
			t.Fatal(err)
		}
		s := newSite(t, m)
		f := s.certify(t)
		s.write(t, "htpasswd", strings.ReplaceAll(htpasswd, "ann:", "ci:"))
		f.serve(t, []string{"docker-registry", "serve"}, "auth: {htpasswd: {realm: test, path: "+s.path("htpasswd")+"}}\n")
		s.env = append(s.env, "SSL_CERT_FILE="+s.path("certs/ca.crt"))
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", "FROM base\nRUN echo a >/a\n")
		s.write(t, "ctx/password", "secret")
		s.build(t, "-t", "base", "busybox")
		s.build(t, "-t", "app", "ctx")
		login := func() {
			t.Helper()
			if r := s.cooperReads(t, "secret\n", "login", "-u", "ci", "--password-stdin", f.address); r.Code != 0 {
				t.Fatalf("log in: status %d\n%s", r.Code, tail(r.Stderr))
			}
		}
		login()
		n := 0
		for line := range strings.Lines(string(page)) {
			args, ok := strings.CutPrefix(line, "    $ cooper ")
			if !ok {
				continue
			}
			n++
			args = strings.TrimSpace(strings.ReplaceAll(args, "registry.example.com", f.address))
			if args == "login "+f.address {
				s.loginOnTerminal(t, f.address)
				continue
			}
			s.run(t, "sh", "-c", "cd ctx && "+suite.cooper+" "+args)
		}
		if n < 7 {
			t.Errorf("there are %d commands", n)
		}
		login()
		for _, tag := range []string{"1", "latest"} {
			s.run(t, "skopeo", "inspect", "--cert-dir", f.certs, "docker://"+f.address+"/team/app:"+tag)
		}
		if digest := s.read(t, "ctx/app.digest"); !strings.HasPrefix(digest, "sha256:") {
			t.Errorf("the digest is %q", digest)
		}
	})
}

// loginOnTerminal logs in as somebody does who is asked for the name and the password.
func (s *site) loginOnTerminal(t *testing.T, address string) {
	t.Helper()
	master, slave := openTerminal(t)
	if _, err := master.WriteString("ci\nsecret\n"); err != nil {
		t.Fatal(err)
	}
	cmd := s.command(suite.cooper, "login", address)
	cmd.Stdin = slave
	if r := runCommand(t, cmd); r.Code != 0 {
		t.Errorf("log in on a terminal: status %d\n%s", r.Code, tail(r.Stderr))
	}
	if err := slave.Close(); err != nil {
		t.Error(err)
	}
}
