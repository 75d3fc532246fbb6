package tests_test

import (
	"encoding/json"
	"os"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// manifestOf reads the manifest that skopeo finds.
func (s *site) manifestOf(t *testing.T, from string) (m ocispec.Manifest) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.run(t, "skopeo", "inspect", "--raw", from)), &m); err != nil {
		t.Fatalf("%s: %v", from, err)
	}
	return m
}

// checkBase compares the layers of an image's base with the blobs that they came as, byte by byte: skopeo refuses what
// hasn't its digest.
func (s *site) checkBase(t *testing.T, from string, base ocispec.Manifest) {
	t.Helper()
	m := s.manifestOf(t, from)
	if len(m.Layers) != len(base.Layers)+1 {
		t.Fatalf("%s: %d layers on a base of %d", from, len(m.Layers), len(base.Layers))
	}
	for i, l := range base.Layers {
		if m.Layers[i].Digest != l.Digest || m.Layers[i].Size != l.Size {
			t.Errorf("%s: layer %d of the base is %v, and came as %v", from, i, m.Layers[i], l)
		}
	}
	s.run(t, "skopeo", "--insecure-policy", "copy", "-q", from, "dir:"+s.path("copy"))
}

func TestALayerOfABaseLeavesAsItCame(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		address, stop := s.startRegistry(t)
		s.busybox(t, "base")
		s.build(t, "-t", "base", "busybox")
		name := address + "/lib/base:1"
		s.mustCooper(t, "push", "--tls-verify=false", "--compression-level", "1", "base", name)
		base, _ := s.remoteManifest(t, name)

		other := newSite(t, m) // a store that has never seen the image
		other.write(t, "ctx/Containerfile", "FROM "+name+"\nARG N=1\nRUN echo $N >/built\n")
		build := func(args ...string) {
			t.Helper()
			other.build(t, append([]string{"--tls-verify=false"}, append(args, "ctx")...)...)
		}
		build() // pulled where nobody needs the blobs
		if n := other.df(t).own("sources"); n != 0 {
			t.Errorf("without an output %d bytes are kept", n)
		}
		build("-t", "app", "-o", "type=oci,dest=app.tar", "-o", "type=docker,dest=docker.tar", "-o",
			"type=oci,dest=app.d,tar=false", "-o", "type=oci,dest=forced.tar,compression=zstd,force-compression=true")
		if n := other.df(t).own("sources"); n < base.Layers[0].Size {
			t.Errorf("kept are %d bytes", n)
		}
		stop()
		other.checkBase(t, "oci-archive:"+other.path("app.tar"), base)
		other.checkBase(t, "oci:"+other.path("app.d"), base)
		if l := other.manifestOf(t, "oci-archive:"+other.path("forced.tar")).Layers[0]; l.MediaType !=
			ocispec.MediaTypeImageLayerZstd {
			t.Errorf("forced it is %v", l)
		}
		docker := mustLayout(t, other.path("docker.tar"))
		if got := docker.image.RootFS.DiffIDs; len(got) != len(base.Layers)+1 {
			t.Errorf("the docker archive has %v", got)
		}
		for _, archive := range []string{"docker.tar", "app.tar"} {
			podman := newSite(t, m)
			podman.run(t, "podman", "load", "-q", "-i", other.path(archive))
			podman.run(t, "podman", "run", "--rm", "--network=host", "localhost/app", "test", "-f", "/built")
		}

		// The registry is away: what is kept serves other images on the base, and a layout needs no copy.
		blob := other.path("app.d/blobs/sha256/" + base.Layers[0].Digest.Encoded())
		before, err := os.Stat(blob)
		if err != nil {
			t.Fatal(err)
		}
		build("--build-arg", "N=2", "-t", "app:2", "-o", "type=oci,dest=two.tar", "-o", "type=oci,dest=app.d,tar=false")
		other.checkBase(t, "oci-archive:"+other.path("two.tar"), base)
		if after, err := os.Stat(blob); err != nil || !os.SameFile(before, after) {
			t.Errorf("the layout's blob was written again: %v", err)
		}
		other.prune(t, "--type", "sources")
		if n := other.df(t).own("sources"); n != 0 {
			t.Errorf("pruned there are %d bytes", n)
		}
		for dest, args := range map[string][]string{"away.tar": nil, "never.tar": {"--pull=never"}} {
			build(append(args, "-o", "type=oci,dest="+dest)...)
			if l := other.manifestOf(t, "oci-archive:"+other.path(dest)).Layers[0]; l.Digest == base.Layers[0].Digest {
				t.Errorf("%s: nobody has %s, and it is there", dest, l.Digest)
			}
			mustFiles(t, other.path(dest))
		}
		other.checkNoLeftovers(t)
	})
}
