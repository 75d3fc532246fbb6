package tests_test

import (
	"strings"
	"testing"
)

// TestAsRootResolvconfCanBeInstalled installs a package that puts a link in the place of /etc/resolv.conf, which steps
// go on resolving names with.
func TestAsRootResolvconfCanBeInstalled(t *testing.T) {
	if testing.Short() {
		t.Skip("installs a package")
	}
	t.Parallel()
	s := newSite(t, ordinary(t))
	s.mkdir(t, "ctx")
	s.linkDebian(t, "ctx/debian.tar")
	s.write(t, "ctx/Containerfile", `FROM scratch
ADD debian.tar /
RUN rm -f /etc/resolv.conf
RUN DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends resolvconf && test -L /etc/resolv.conf
RUN test "$(readlink /etc/resolv.conf)" = ../run/resolvconf/resolv.conf && echo '192.0.2.7 kept' >>/etc/hosts && echo kept >/etc/hostname
RUN rm -r /run/resolvconf && apt-get -q update && rm -r /var/lib/apt/lists/*
`)
	s.build(t, "-o", "type=oci,dest=app.tar,compression=uncompressed", "ctx")
	files := mustFiles(t, s.path("app.tar"))
	if f, ok := files["etc/resolv.conf"]; !ok || f.Header.Linkname != "../run/resolvconf/resolv.conf" {
		t.Errorf("etc/resolv.conf: %+v", f)
	}
	if f := files["etc/hostname"]; f.Head != "kept\n" {
		t.Errorf("etc/hostname: %q", f.Head)
	}
	if f := files["etc/hosts"]; !strings.Contains(f.Head, "192.0.2.7 kept\n") {
		t.Errorf("etc/hosts: %q", f.Head)
	}
	if _, ok := files["run/resolvconf/resolv.conf"]; ok {
		t.Error("run/resolvconf/resolv.conf is in the image")
	}
	s.checkNoLeftovers(t)
}
