package tests_test

import (
	"strings"
	"testing"
)

// TestAPushedIndexIsReadByUmociAndContainerd, neither of which has anything in common with podman's libraries.
func TestAPushedIndexIsReadByUmociAndContainerd(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		address, _ := s.startRegistry(t)
		s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY f /dir/\nLABEL a=b\n")
		s.write(t, "ctx/f", "the text\n")
		s.build(t, "-t", "many", "--platform", "linux/amd64,linux/arm64", "ctx")
		name := address + "/lib/many:1"
		digest := strings.TrimSpace(s.mustCooper(t, "push", "--tls-verify=false", "many", name))

		s.run(t, "skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "docker://"+name, "oci:layout:1")
		if m.root() {
			s.run(t, "umoci", "unpack", "--image", "layout:1", "bundle")
		} else {
			s.run(t, "umoci", "unpack", "--rootless", "--image", "layout:1", "bundle")
		}
		if got := s.read(t, "bundle/rootfs/dir/f"); got != "the text\n" {
			t.Errorf("umoci has %q", got)
		}
		if m.root() {
			s.checkContainerd(t, name, digest)
		}
		s.checkNoLeftovers(t)
	})
}

// checkContainerd pulls an index with all its images by a containerd of its own.
func (s *site) checkContainerd(t *testing.T, name, digest string) {
	t.Helper()
	s.write(t, "containerd.toml", "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")
	socket := s.path("containerd.sock")
	cmd := s.command("containerd", "--config", s.path("containerd.toml"), "--root", s.path("containerd"),
		"--state", s.path("containerd.state"), "--address", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
	})
	ctr := func(args ...string) string {
		t.Helper()
		return s.run(t, "ctr", append([]string{"--address", socket}, args...)...)
	}
	eventually(t, func() string { return "containerd doesn't answer" }, func() bool {
		return s.command("ctr", "--address", socket, "version").Run() == nil
	})
	ctr("images", "pull", "--plain-http", "--all-platforms", "--snapshotter", "native", name)
	if text := ctr("images", "ls", "name=="+name); !strings.Contains(text, digest) ||
		!strings.Contains(text, "linux/amd64,linux/arm64") {
		t.Errorf("containerd has\n%s", text)
	}
	if text := ctr("images", "check", "--snapshotter", "native", "name=="+name); !strings.Contains(text, "complete") ||
		strings.Contains(text, "incomplete") {
		t.Errorf("containerd finds it\n%s", text)
	}
	s.run(t, "mkdir", "mounted")
	ctr("images", "mount", "--snapshotter", "native", name, s.path("mounted"))
	got := s.read(t, "mounted/dir/f")
	ctr("images", "unmount", s.path("mounted"))
	if got != "the text\n" {
		t.Errorf("containerd has %q", got)
	}
}
