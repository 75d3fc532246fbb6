package tests_test

import (
	"encoding/json"
	"strings"
	"testing"
)

const formatFile = `FROM base AS served
SHELL ["/bin/sh", "-ec"]
ONBUILD RUN echo trigger >/triggered
HEALTHCHECK --interval=1h --start-period=2s --retries=2 CMD test -e /served
RUN echo x >/served
CMD ["sleep", "1000"]
`

// kinds are the media types of an image in the store, and what skopeo finds in its config.
type kinds struct {
	MediaType string
	Config    struct{ MediaType, Digest string }
	Layers    []struct{ MediaType string }
	Manifests []struct{ MediaType string }
}

func (s *site) kinds(t *testing.T, from string) kinds {
	t.Helper()
	var k kinds
	if err := json.Unmarshal([]byte(s.run(t, "skopeo", "inspect", "--raw", from)), &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// wantKinds checks that all of an image is of one format, and how its layers are compressed.
func wantKinds(t *testing.T, k kinds, format, compression string) {
	t.Helper()
	manifest, config, layer := "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json",
		"application/vnd.oci.image.layer.v1.tar+"
	if format == "docker" {
		manifest, config = "application/vnd.docker.distribution.manifest.v2+json",
			"application/vnd.docker.container.image.v1+json"
		layer = "application/vnd.docker.image.rootfs.diff.tar."
	}
	layer = strings.TrimRight(layer+compression, "+.")
	if k.MediaType != manifest || k.Config.MediaType != config || len(k.Layers) == 0 {
		t.Errorf("%+v is not of the format %s", k, format)
	}
	for _, l := range k.Layers {
		if l.MediaType != layer {
			t.Errorf("a layer is %s, want %s", l.MediaType, layer)
		}
	}
}

func TestFormatOfTheImage(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", formatFile)
		const note = "podman and buildah ignore HEALTHCHECK, ONBUILD, SHELL in images of the OCI format"
		oci := s.cooper(t, "build", "-t", "oci", "-o", "type=docker,dest=docker.tar", "-o", "type=oci,dest=oci.tar", "ctx")
		docker := s.cooper(t, "build", "--format", "docker", "-t", "docker", "-o", "type=oci,dest=oci2.tar", "ctx")
		if oci.Code != 0 || docker.Code != 0 || !strings.Contains(oci.Stderr, note) || strings.Contains(docker.Stderr, note) {
			t.Fatalf("the note is wrong:\n%s\n%s", oci.Stderr, docker.Stderr)
		}
		if !strings.Contains(docker.Stderr, "CACHED") || strings.Contains(docker.Stderr, "#2 DONE") {
			t.Errorf("the format is no reason to run a step again:\n%s", docker.Stderr)
		}
		if oci.Stdout != docker.Stdout {
			t.Errorf("one config has two IDs: %s, %s", oci.Stdout, docker.Stdout)
		}
		wantKinds(t, s.kinds(t, "containers-storage:localhost/docker:latest"), "docker", "")
		wantKinds(t, s.kinds(t, "oci-archive:docker.tar"), "docker", "")
		wantKinds(t, s.kinds(t, "oci-archive:oci.tar"), "oci", "gzip")
		wantKinds(t, s.kinds(t, "oci-archive:oci2.tar"), "oci", "gzip")
		s.checkDockerFormat(t, "localhost/docker:latest")

		// The last build says which it is, podman's variable as well as the flag; a build with other names leaves it alone.
		s.build(t, "-t", "oci", "ctx")
		wantKinds(t, s.kinds(t, "containers-storage:localhost/oci:latest"), "oci", "")
		s.env = append(s.env, "BUILDAH_FORMAT=docker")
		s.build(t, "-t", "oci", "ctx")
		wantKinds(t, s.kinds(t, "containers-storage:localhost/oci:latest"), "docker", "")
		s.build(t, "--format=oci", "-t", "oci", "ctx")
		wantKinds(t, s.kinds(t, "containers-storage:localhost/oci:latest"), "oci", "")
		s.env = append(s.env, "BUILDAH_FORMAT=x")
		s.cooper(t, "build", "ctx").fails(t, 2, "BUILDAH_FORMAT", "must be oci or docker")
		s.cooper(t, "build", "--format=v2s1", "ctx").fails(t, 2, "--format", "must be oci or docker")
		s.checkStore(t, "oci")

		// The same config is the same to those who use it.
		other := newSite(t, m)
		other.run(t, "podman", "load", "-q", "-i", s.path("docker.tar"))
		wantKinds(t, other.kinds(t, "containers-storage:localhost/oci:latest"), "docker", "")
		loaded := strings.TrimSpace(other.run(t, "podman", "inspect", "--format", "{{.Id}}", "localhost/oci:latest"))
		if loaded != strings.TrimPrefix(strings.TrimSpace(docker.Stdout), "sha256:") {
			t.Errorf("podman loads %s, and cooper built %s", loaded, docker.Stdout)
		}
		other.checkStore(t, "oci")
	})
}

// checkDockerFormat has podman and buildah use what only Docker's format has.
func (s *site) checkDockerFormat(t *testing.T, name string) {
	t.Helper()
	wantKinds(t, s.kinds(t, "containers-storage:"+name), "docker", "")
	id := strings.TrimSpace(s.run(t, "podman", "run", "-d", "--network=host", name))
	s.run(t, "podman", "healthcheck", "run", id)
	s.run(t, "podman", "exec", id, "rm", "/served")
	cmd := s.command("podman", "healthcheck", "run", id)
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("the health check doesn't look: %s", out)
	}
	s.run(t, "podman", "rm", "-f", "-t0", id)
	s.write(t, "on/Containerfile", "FROM "+name+"\nRUN test -e /triggered; false; true\n")
	if out, err := s.command("buildah", "bud", "--isolation=chroot", "--format=docker",
		"on").CombinedOutput(); err == nil {
		t.Errorf("buildah doesn't use the image's SHELL:\n%s", out)
	}
	s.write(t, "on/Containerfile", "FROM "+name+"\nRUN test -e /triggered\n")
	s.run(t, "buildah", "bud", "--isolation=chroot", "--format=docker", "on")
}

// TestFormatIsWhatPodmanMakesOfIt holds an image of cooper's in Docker's format against podman's, in the store and in a
// registry.
func TestFormatIsWhatPodmanMakesOfIt(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		address, _ := s.startRegistry(t)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", strings.Replace(formatFile, "RUN echo x >/served\n", "", 1))
		for _, format := range []string{"docker", "oci"} {
			s.build(t, "--format", format, "-t", "ours", "ctx")
			s.run(t, "buildah", "bud", "-q", "--format", format, "-t", "theirs", "ctx")
			for _, image := range []string{"ours", "theirs"} {
				wantKinds(t, s.kinds(t, "containers-storage:localhost/"+image+":latest"), format, "")
				s.run(t, "podman", "push", "-q", "--tls-verify=false", image, address+"/"+image+":"+format)
				var k kinds
				if err := json.Unmarshal([]byte(s.run(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+address+
					"/"+image+":"+format)), &k); err != nil {
					t.Fatal(err)
				}
				wantKinds(t, k, format, "gzip")
			}
			const inspect = "{{.ManifestType}} {{json .HealthCheck}}"
			ours, theirs := s.run(t, "podman", "inspect", "--format", inspect, "ours"),
				s.run(t, "podman", "inspect", "--format", inspect, "theirs")
			if ours != theirs || (format == "docker") != strings.Contains(ours, "test -e /served") {
				t.Errorf("--format %s: podman sees %s in cooper's and %s in buildah's", format, ours, theirs)
			}
		}
	})
}

func TestFormatOfAnIndex(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY Containerfile /\nHEALTHCHECK CMD [\"/x\"]\n")
		for format, list := range map[string]string{
			"docker": "application/vnd.docker.distribution.manifest.list.v2+json",
			"oci":    "application/vnd.oci.image.index.v1+json",
		} {
			s.build(t, "--format", format, "--platform", "linux/amd64,linux/arm64", "-t", "app", "-o", "type=oci,dest="+format+
				".tar", "ctx")
			k := s.kinds(t, "containers-storage:localhost/app:latest")
			if k.MediaType != list || len(k.Manifests) != 2 ||
				strings.Contains(k.Manifests[0].MediaType, "docker") != (format == "docker") {
				t.Errorf("--format %s: %+v", format, k)
			}
			s.run(t, "podman", "manifest", "push", "--all", "localhost/app:latest", "dir:"+s.path("list-"+format))
			if k := s.kinds(t, "dir:"+s.path("list-"+format)); k.MediaType != list {
				t.Errorf("--format %s: copied it is %+v", format, k)
			}
			if k := s.kinds(t, "oci-archive:"+format+".tar"); k.MediaType != "application/vnd.oci.image.index.v1+json" {
				t.Errorf("type=oci has %+v", k)
			}
			s.write(t, "on/Containerfile", "FROM app\nLABEL a=b\n")
			s.build(t, "--pull=never", "--platform", "linux/arm64", "on")
		}
	})
}
