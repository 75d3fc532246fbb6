package tests_test

import (
	"strings"
	"testing"

	"encoding/json"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestManifestListsAreEditedByCooperAndPodman has both change the same lists.
func TestManifestListsAreEditedByCooperAndPodman(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		address, _ := s.startRegistry(t)
		s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY f /\nARG TARGETARCH\nLABEL arch=$TARGETARCH\n")
		s.write(t, "ctx/f", "f")
		for _, arch := range []string{"amd64", "arm64", "s390x"} {
			s.build(t, "-t", arch, "--platform", "linux/"+arch, "ctx")
		}
		read := func(tool func(*testing.T, ...string) string, name string) (index ocispec.Index) {
			t.Helper()
			if err := json.Unmarshal([]byte(tool(t, "manifest", "inspect", name)), &index); err != nil {
				t.Fatal(err)
			}
			return index
		}
		podman := func(t *testing.T, args ...string) string { t.Helper(); return s.run(t, "podman", args...) }
		arches := func(index ocispec.Index) string {
			var all []string
			for _, d := range index.Manifests {
				all = append(all, d.Platform.Architecture+d.Platform.Variant)
			}
			return strings.Join(all, " ")
		}
		if r := s.cooper(t, "manifest", "exists", "list"); r.Code != 1 || r.Stderr != "" {
			t.Errorf("exists before it does: %d, %s", r.Code, r.Stderr)
		}
		id := s.mustCooper(t, "manifest", "create", "--annotation", "a=b", "list", "amd64")
		s.mustCooper(t, "manifest", "exists", "list")
		if again := s.mustCooper(t, "manifest", "add", "--variant", "v9", "--annotation", "c=d", "list",
			"arm64"); again != id {
			t.Errorf("the list's ID was %s and is %s", id, again)
		}
		s.run(t, "podman", "manifest", "add", "list", "containers-storage:localhost/s390x")
		s.mustCooper(t, "manifest", "annotate", "--os-version", "1.2", "list", "s390x")
		for name, tool := range map[string]func(*testing.T, ...string) string{"cooper": s.mustCooper, "podman": podman} {
			if got := arches(read(tool, "list")); got != "amd64 arm64v9 s390x" {
				t.Errorf("%s sees %s", name, got)
			}
		}
		index := read(s.mustCooper, "list")
		if index.Manifests[1].Annotations["c"] != "d" || index.Manifests[2].Platform.OSVersion != "1.2" {
			t.Errorf("the list is %+v", index)
		}
		// It is what a build finds, and what is pushed.
		s.write(t, "on/Containerfile", "FROM list\nLABEL on=list\n")
		s.build(t, "-t", "on", "--platform", "linux/s390x", "on")
		if got := s.mustCooper(t, "inspect", "-f", "{{.Config.Labels.arch}}", "on"); got != "s390x\n" {
			t.Errorf("a build on the list is on %s", got)
		}
		s.mustCooper(t, "manifest", "push", "-q", "--tls-verify=false", "--all", "list", address+"/lib/list:1")
		raw := s.run(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+address+"/lib/list:1")
		var pushed ocispec.Index
		if err := json.Unmarshal([]byte(raw), &pushed); err != nil || arches(pushed) != "amd64 arm64v9 s390x" {
			t.Errorf("pushed was %s, %v", raw, err)
		}
		s.mustCooper(t, "manifest", "remove", "list", index.Manifests[0].Digest.String())
		s.mustCooper(t, "manifest", "remove", "list", "arm64")
		if got := arches(read(podman, "list")); got != "s390x" {
			t.Errorf("after the removals it has %s", got)
		}
		// A list of podman's, and of a registry's images.
		s.run(t, "podman", "manifest", "create", "theirs", "containers-storage:localhost/amd64")
		s.mustCooper(t, "manifest", "create", "--amend", "theirs", "arm64")
		if got := arches(read(podman, "theirs")); !strings.HasPrefix(got, "amd64 arm64") {
			t.Errorf("podman's list has %s", got)
		}
		s.mustCooper(t, "manifest", "create", "--all", "both", "theirs", "s390x")
		if got := arches(read(podman, "both")); !strings.HasPrefix(got, "amd64 arm64") || !strings.HasSuffix(got, " s390x") {
			t.Errorf("a list of a list's images has %s", got)
		}
		s.mustCooper(t, "push", "-q", "--tls-verify=false", "amd64", address+"/lib/one:1")
		s.mustCooper(t, "manifest", "create", "--tls-verify=false", "remote", "docker://"+address+"/lib/one:1")
		if got := arches(read(podman, "remote")); got != "amd64" {
			t.Errorf("a list of a registry's image has %s", got)
		}
		s.checkRemoteLists(t, address+"/lib/list:1")
		s.build(t, "--manifest", "built", "--platform", "linux/amd64,linux/arm64", "ctx")
		s.build(t, "--manifest", "built", "--platform", "linux/s390x", "ctx")
		if got := arches(read(podman, "built")); strings.Join(strings.Fields(got), " ") != got || !strings.HasSuffix(got,
			" s390x") || !strings.HasPrefix(got, "amd64 arm64") {
			t.Errorf("a list that builds have made has %s", got)
		}
		for args, says := range map[string]string{
			"create both":             "manifest list localhost/both:latest is there already\nhint: --amend adds to it",
			"create --amend amd64":    "amd64 is an image and no manifest list",
			"inspect localhost/bot":   "bot: no such image in the store\nhint: did you mean localhost/both?",
			"remove both on":          "has no image on",
			"remove both sha256:nope": "no such image",
			"annotate both none":      "none: no such image in the store",
			"create --all self theirs " + address + "/lib/none:1": "pull " + address + "/lib/none:1",
			"rm amd64": "amd64 is an image and no manifest list",
		} {
			r := s.cooper(t, append([]string{"manifest"}, strings.Fields(args)...)...)
			if r.Code != 1 || !strings.Contains(r.Stderr, says) {
				t.Errorf("manifest %s: status %d, %s", args, r.Code, r.Stderr)
			}
		}
		s.mustCooper(t, "manifest", "rm", "both", "theirs")
		if r := s.cooper(t, "manifest", "exists", "both"); r.Code != 1 {
			t.Error("a list is there after rm")
		}
		s.mustCooper(t, "inspect", "amd64")
		s.checkNoLeftovers(t)
	})
}

// checkRemoteLists has a store that knows nothing show and take an index of a registry, of three images.
func (s *site) checkRemoteLists(t *testing.T, name string) {
	t.Helper()
	other := newSite(t, s.mode)
	var index ocispec.Index
	raw := other.mustCooper(t, "manifest", "inspect", "--tls-verify=false", name)
	if err := json.Unmarshal([]byte(raw), &index); err != nil || len(index.Manifests) != 3 {
		t.Errorf("the registry's index is %s, %v", raw, err)
	}
	if names := other.mustCooper(t, "images", "-aq"); names != "" {
		t.Errorf("to look at an index has pulled %s", names)
	}
	other.mustCooper(t, "manifest", "create", "all")
	other.mustCooper(t, "manifest", "add", "--tls-verify=false", "--all", "--features", "sse4,avx", "all",
		"docker://"+name)
	for _, raw := range []string{other.mustCooper(t, "manifest", "inspect", "all"),
		other.run(t, "podman", "manifest", "inspect", "all")} {
		var list struct {
			Manifests []struct {
				Platform struct{ Features []string }
			}
		}
		if err := json.Unmarshal([]byte(raw), &list); err != nil || len(list.Manifests) != 3 ||
			strings.Join(list.Manifests[2].Platform.Features, " ") != "sse4 avx" {
			t.Errorf("the list is %s, %v", raw, err)
		}
	}
	other.mustCooper(t, "manifest", "push", "-q", "--tls-verify=false", "--compression-format=zstd", "--force-compression",
		"all", name+"-featured")
	if raw := other.mustCooper(t, "manifest", "inspect", "--tls-verify=false", name+"-featured"); strings.Count(raw,
		`"sse4"`) != 3 {
		t.Errorf("pushed was %s", raw)
	}
	other.write(t, "ctx/Containerfile", "FROM "+name+"\nCOPY f /g\n")
	other.write(t, "ctx/f", "f")
	other.mustCooper(t, "build", "--tls-verify=false", "--all-platforms", "--logfile", "log", "--logsplit", "-t", "app",
		"ctx")
	for _, file := range []string{"log_linux_amd64", "log_linux_arm64", "log_linux_s390x"} {
		if text := other.read(t, file); strings.Count(text, "COPY f /g") != 1 {
			t.Errorf("%s is\n%s", file, text)
		}
	}
	if raw := other.mustCooper(t, "manifest", "inspect", "app"); strings.Count(raw, `"digest"`) != 3 {
		t.Errorf("built was %s", raw)
	}
	for _, args := range []string{"--platform=linux/amd64", "--arch=arm64"} {
		if r := other.cooper(t, "build", "--all-platforms", args, "ctx"); r.Code != 2 {
			t.Errorf("--all-platforms %s: status %d, %s", args, r.Code, r.Stderr)
		}
	}
	other.write(t, "ctx/Containerfile", "FROM scratch\nCOPY f /g\n")
	if r := other.cooper(t, "build", "--all-platforms", "ctx"); r.Code != 1 ||
		!strings.Contains(r.Stderr, "--platform names them") {
		t.Errorf("--all-platforms on nothing: status %d, %s", r.Code, r.Stderr)
	}
}
