package tests_test

import (
	"errors"
	"io"
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
		s.credsEverywhere(t, address)
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

// credsEverywhere has builds and pulls from and to a registry say who they are by --creds.
func (s *site) credsEverywhere(t *testing.T, address string) {
	t.Helper()
	other := newSite(t, s.mode)
	other.write(t, "ctx/Containerfile", "FROM "+address+"/lib/base:1\nRUN true >/made\n")
	build := []string{"build", "--tls-verify=false", "--push", "-t", address + "/lib/app:1", "ctx", "--creds"}
	if r := other.cooper(t, append(build, "ann:wrong")...); r.Code != 1 || strings.Contains(r.Stderr, "wrong") {
		t.Errorf("with a wrong password: status %d\n%s", r.Code, tail(r.Stderr))
	}
	other.mustCooper(t, append(build, "ann:secret")...)
	pull := []string{"pull", "--tls-verify=false", address + "/lib/app:1", "--creds"}
	other.mustCooper(t, append(pull, "ann:secret")...)
	if r := other.cooper(t, append(pull, "ann")...); r.Code != 2 || strings.Contains(r.Stderr, "Password") {
		t.Errorf("without a password and a terminal: status %d\n%s", r.Code, tail(r.Stderr))
	}
	// On a terminal the password is asked for, and nothing of it shown.
	user, terminal := openTerminal(t)
	cmd := other.command(suite.cooper, append(pull, "ann")...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	err := cmd.Start()
	if err = errors.Join(err, terminal.Close()); err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	for buf, answered := make([]byte, 1000), false; err == nil; {
		var n int
		n, err = user.Read(buf)
		shown.Write(buf[:n])
		if !answered && strings.HasSuffix(shown.String(), "Password: ") {
			answered = true
			if _, err := io.WriteString(user, "secret\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil || strings.Contains(shown.String(), "secret") {
		t.Errorf("on a terminal: %v\n%s", err, shown.String())
	}
}

// cooperReads runs cooper with a text on standard input.
func (s *site) cooperReads(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	cmd := s.command(suite.cooper, args...)
	cmd.Stdin = strings.NewReader(stdin)
	return runCommand(t, cmd)
}
