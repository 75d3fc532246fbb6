package tests_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// remoteManifest reads the manifest that a name leads to in a registry.
func (s *site) remoteManifest(t *testing.T, name string) (m ocispec.Manifest, text string) {
	t.Helper()
	text = s.run(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+name)
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return m, text
}

// hasTag tells whether a registry has a tag.
func hasTag(t *testing.T, address, repository, tag string) bool {
	t.Helper()
	resp, err := http.Get("http://" + address + "/v2/" + repository + "/manifests/" + tag)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func TestAPushedImageIsReadByAllTools(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		address, _ := s.startRegistry(t)
		s.busybox(t, "base")
		s.write(t, "busybox/x", "x")
		s.build(t, "-t", "base", "busybox")
		name := address + "/lib/base:1"
		first := strings.TrimSpace(s.mustCooper(t, "push", "--tls-verify=false", "base", name))
		if again := strings.TrimSpace(s.mustCooper(t, "push", "--tls-verify=false", "-q", "--digestfile", "digest", "base",
			name)); again != first || s.read(t, "digest") != first {
			t.Errorf("pushed once more it is %s and not %s; the file has %q", again, first, s.read(t, "digest"))
		}
		for i, format := range []string{"gzip", "zstd", "zstd:chunked", "estargz", "uncompressed"} {
			if !m.takes(i) { // how a layer is compressed is no matter of who does it
				continue
			}
			at := address + "/lib/" + strings.ReplaceAll(format, ":", "-") + ":1"
			s.mustCooper(t, "push", "--tls-verify=false", "--compression-format", format, "base", at)
			other := newSite(t, m) // a store that has never seen the image
			other.write(t, "ctx/Containerfile", "FROM "+at+"\nRUN test -e /etc/passwd\n")
			other.build(t, "--tls-verify=false", "ctx")
			podman := newSite(t, m)
			podman.run(t, "podman", "pull", "-q", "--tls-verify=false", at)
			podman.run(t, "podman", "run", "--rm", "--network=host", at, "test", "-f", "/etc/passwd")
		}
		docker, _ := s.remoteManifest(t, name)
		s.mustCooper(t, "push", "--tls-verify=false", "--format", "docker", "base", address+"/lib/docker:1")
		if d, _ := s.remoteManifest(t, address+"/lib/docker:1"); strings.Contains(d.MediaType, "oci") ||
			d.Layers[0].Digest != docker.Layers[0].Digest {
			t.Errorf("in Docker's format it is %+v", d)
		}
		s.checkNoLeftovers(t)
	})
}

func TestABuildPushesUnderAllNamesOrNone(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		address, _ := s.startRegistry(t)
		s.busybox(t, "base")
		s.build(t, "-t", "base", "--tls-verify=false", "-o",
			"type=registry,name="+address+"/lib/base:1,annotation.org.example.a=b", "busybox")
		base, _ := s.remoteManifest(t, address+"/lib/base:1")
		if base.Annotations["org.example.a"] != "b" {
			t.Errorf("annotations are %v", base.Annotations)
		}
		other := newSite(t, m) // its base comes from the registry
		other.write(t, "ctx/Containerfile",
			"FROM "+address+"/lib/base:1\nARG FAIL=\nRUN echo built >/built && test -z \"$FAIL\"\n")
		failing := other.cooper(t, "build", "--tls-verify=false", "--push", "--build-arg", "FAIL=1", "-t",
			address+"/lib/never:1", "ctx")
		if failing.Code != 1 || hasTag(t, address, "lib/never", "1") {
			t.Errorf("a build that failed with status %d was pushed", failing.Code)
		}
		other.build(t, "--tls-verify=false", "--push", "-t", address+"/lib/app:1", "-t", address+"/team/app:2", "ctx")
		app, text := other.remoteManifest(t, address+"/lib/app:1")
		if _, same := other.remoteManifest(t, address+"/team/app:2"); same != text {
			t.Error("the second name leads to another manifest")
		}
		if len(app.Layers) != len(base.Layers)+1 {
			t.Fatalf("%d layers on a base of %d", len(app.Layers), len(base.Layers))
		}
		for i, l := range base.Layers {
			if app.Layers[i].Digest != l.Digest || app.Layers[i].MediaType != l.MediaType {
				t.Errorf("layer %d of the base is %v, and was %v", i, app.Layers[i], l)
			}
		}
		other.write(t, "two/Containerfile", "FROM scratch\nCOPY Containerfile /\n")
		other.build(t, "--tls-verify=false", "--push", "--platform", "linux/amd64,linux/arm64", "-t", address+"/lib/two:1",
			"two")
		other.run(t, "skopeo", "--insecure-policy", "copy", "-q", "--all", "--src-tls-verify=false",
			"docker://"+address+"/lib/two:1", "dir:"+other.path("two.dir"))
		other.mustCooper(t, "push", "--tls-verify=false", address+"/lib/two:1", address+"/lib/again:1")
		_, two := other.remoteManifest(t, address+"/lib/two:1")
		if _, again := other.remoteManifest(t, address+"/lib/again:1"); again != two {
			t.Errorf("the index pushed from the store is\n%s\nand not\n%s", again, two)
		}
		other.mustCooper(t, "push", "--tls-verify=false", "--platform", "linux/arm64", address+"/lib/two:1",
			address+"/lib/one:1")
		other.checkNoLeftovers(t)
	})
}

// mustCooper runs cooper and gives its standard output.
func (s *site) mustCooper(t *testing.T, args ...string) string {
	t.Helper()
	r := s.cooper(t, args...)
	if r.Code != 0 {
		t.Fatalf("cooper %q: status %d\n%s", args, r.Code, tail(r.Stderr))
	}
	return r.Stdout
}
