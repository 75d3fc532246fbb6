package tests_test

import (
	"strings"
	"testing"
)

// htpasswd is a user ann with the password secret, as htpasswd -B writes it.
const htpasswd = "ann:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"

func TestLoginIsWhatPushesAndPodmanUse(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "htpasswd", htpasswd)
		address, _ := s.startRegistryWith(t, "auth: {htpasswd: {realm: test, path: "+s.path("htpasswd")+"}}\n")
		s.busybox(t, "base")
		s.build(t, "-t", "base", "busybox")
		if r := s.cooper(t, "push", "--tls-verify=false", "base", address+"/lib/base:1"); r.Code != 1 ||
			!strings.Contains(r.Stderr, "cooper login "+address) {
			t.Errorf("without a login: status %d\n%s", r.Code, tail(r.Stderr))
		}
		login := []string{"login", "--tls-verify=false", "--authfile", s.path("auth.json"), "-u", "ann", "--password-stdin",
			address}
		if r := s.cooperReads(t, "wrong\n", login...); r.Code != 1 ||
			!strings.Contains(r.Stderr, "does not know this user name") {
			t.Errorf("with a wrong password: status %d\n%s", r.Code, tail(r.Stderr))
		}
		if r := s.cooperReads(t, "secret\n", login...); r.Code != 0 || strings.Contains(r.Stdout+r.Stderr, "secret") {
			t.Fatalf("log in: status %d\n%s", r.Code, tail(r.Stderr))
		}
		if name := s.mustCooper(t, "login", "--get-login", "--authfile", s.path("auth.json"), address); name != "ann\n" {
			t.Errorf("logged in as %q", name)
		}
		s.mustCooper(t, "push", "--tls-verify=false", "--authfile", s.path("auth.json"), "base", address+"/lib/base:1")
		s.mustCooper(t, "push", "--tls-verify=false", "--creds", "ann:secret", "base", address+"/lib/base:2")
		s.run(t, "skopeo", "inspect", "--tls-verify=false", "--authfile", s.path("auth.json"), "docker://"+address+
			"/lib/base:1")
		s.mustCooper(t, "logout", "--authfile", s.path("auth.json"), address)
		if r := s.cooper(t, "logout", "--authfile", s.path("auth.json"), address); r.Code != 1 {
			t.Errorf("logged out twice: status %d", r.Code)
		}
		s.run(t, "podman", "login", "--tls-verify=false", "--authfile", s.path("auth.json"), "-u", "ann", "-p", "secret",
			address)
		s.mustCooper(t, "push", "--tls-verify=false", "--authfile", s.path("auth.json"), "base", address+"/lib/base:3")
		s.mustCooper(t, "logout", "--all", "--authfile", s.path("auth.json"))
	})
}

// cooperReads runs cooper with a text on standard input.
func (s *site) cooperReads(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	cmd := s.command(suite.cooper, args...)
	cmd.Stdin = strings.NewReader(stdin)
	return runCommand(t, cmd)
}
