package tests_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// startRegistry runs a registry on a free port of the loopback interface until the test ends.
func (s *site) startRegistry(t *testing.T) (address string, stop func()) {
	t.Helper()
	return s.startRegistryWith(t, "")
}

// startRegistryWith adds lines to the registry's configuration.
func (s *site) startRegistryWith(t *testing.T, lines string) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.write(t, "registry.yml", fmt.Sprintf(
		"version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n%s",
		s.path("registry"), address, lines))
	cmd := s.command("docker-registry", "serve", s.path("registry.yml"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill() // it may have ended by itself
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	eventually(t, func() string { return "the registry doesn't answer" }, func() bool {
		resp, err := http.Get("http://" + address + "/v2/")
		return err == nil && resp.Body.Close() == nil
	})
	return address, stop
}

func TestRegistry(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		address, stop := s.startRegistry(t)
		s.busybox(t, "base")
		s.build(t, "-t", "base", "-o", "type=oci,dest=base.tar", "busybox")
		name := address + "/lib/base:1"
		s.run(t, "skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "oci-archive:base.tar",
			"docker://"+name)
		other := newSite(t, m) // a store that has never seen the image
		other.write(t, "ctx/Containerfile", "FROM "+name+"\nRUN grep -q alice /etc/passwd && echo built >/built\n")
		if r := other.cooper(t, "build", "ctx"); r.Code == 0 {
			t.Error("a registry without TLS was used without being told to")
		}
		other.build(t, "--tls-verify=false", "-t", "app", "-o", "type=oci,compression=uncompressed,dest=app.tar", "ctx")
		l := mustLayout(t, other.path("app.tar"))
		base := mustLayout(t, s.path("base.tar"))
		for i, id := range base.image.RootFS.DiffIDs {
			if l.image.RootFS.DiffIDs[i] != id {
				t.Errorf("layer %d of the base is %s, not %s", i, l.image.RootFS.DiffIDs[i], id)
			}
		}
		other.checkStore(t, "app")
		other.checkNoLeftovers(t)
		s.checkRegistryErrors(t, address, stop)
		other.write(t, "ctx/Containerfile", "FROM "+name+"\nRUN test -e /etc/passwd\n")
		other.build(t, "ctx") // the image is in the store now
	})
}

func (s *site) checkRegistryErrors(t *testing.T, address string, stop func()) {
	t.Helper()
	fails := func(line string, texts ...string) {
		t.Helper()
		s.write(t, "ctx/Containerfile", line+"\n")
		r := s.cooper(t, "build", "--tls-verify=false", "-t", "never", "ctx")
		if r.Code != 1 {
			t.Errorf("%s: status %d, not 1\n%s", line, r.Code, tail(r.Stderr))
		}
		for _, text := range append(texts, "ctx/Containerfile:1") {
			if !strings.Contains(r.Stderr, text) {
				t.Errorf("%s: no %q in the message:\n%s", line, text, tail(r.Stderr))
			}
		}
		s.checkNoLeftovers(t)
	}
	fails("FROM "+address+"/lib/missing:1", address+"/lib/missing:1")
	fails("FROM "+address+"/lib/base:missing", "base:missing")
	stop()
	fails("FROM "+address+"/lib/other:1", "refused")
	fails("FROM no-such-host.invalid/lib/base:1", "no-such-host.invalid")
}
