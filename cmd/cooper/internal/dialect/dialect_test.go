package dialect

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func TestTheProgramsNameOrTheVariableChoosesTheDialect(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		argv0, chosen string
		want          Dialect
	}{
		{"cooper", "", Cooper}, {"/usr/bin/buildah", "", Buildah}, {"podman", "", Podman}, {"./docker", "", Docker},
		{"buildah", "cooper", Cooper}, {"cooper", "podman", Podman}, {"", "", Cooper}, {"buildah-static", "", Cooper},
		{"/root/.docker/cli-plugins/docker-buildx", "", Docker}, {"buildx", "", Docker},
	} {
		if got, err := Choose(tt.argv0, tt.chosen); got != tt.want || err != nil {
			t.Errorf("%q, %q: %s, %v", tt.argv0, tt.chosen, got, err)
		}
	}
	if _, err := Choose("cooper", "kaniko"); err == nil ||
		!strings.Contains(err.Error(), "COOPER_DIALECT=kaniko: must be") {
		t.Error(err)
	}
}

func TestOptionsBeforeTheVerbAreTakenOut(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Line{
		"build .":                   {Words: []string{"build", "."}},
		"--root /r --runroot=/s ls": {Words: []string{"ls"}, Flags: []string{"--root=/r", "--runroot=/s"}},
		"--log-level debug --cgroup-manager=cgroupfs --transient-store build": {Words: []string{"build"}},
		"--registries-conf f --config d build": {Words: []string{"build"},
			Variables: []string{"CONTAINERS_REGISTRIES_CONF=f", "DOCKER_CONFIG=d"}},
		"-H tcp://h build":              {Words: []string{"build"}, Variables: []string{"DOCKER_HOST=tcp://h"}},
		"--imagestore d build":          {Words: []string{"build"}, Flags: []string{"--storage-opt=overlay.imagestore=d"}},
		"--context default -D build -D": {Words: []string{"build", "-D"}},
		"--remote=false build":          {Words: []string{"build"}},
		"--root":                        {},
		"--version":                     {Words: []string{"--version"}},
		"--nosuch build --root x":       {Words: []string{"--nosuch", "build", "--root", "x"}},
		"-- build":                      {Words: []string{"--", "build"}},
	} {
		got, err := Split(strings.Fields(text))
		if text == "--root" {
			if err == nil || err.Error() != "--root needs a value" {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"--context far build", "--remote build", "--url u build",
		"--transient-store=maybe build"} {
		if _, err := Split(strings.Fields(text)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

func TestTwoWordsForAVerbBecomeOne(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"image ls -q": "image ls -q", "image build .": "build .", "builder build .": "build .", "builder prune": "prune",
		"image": "image", "image prune -f": "image prune -f", "build image": "build image", "": "",
	} {
		if got := strings.Join(Verb(strings.Fields(text)), " "); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// taken are the notes of a command line of foreign flags, and the error.
func taken(t *testing.T, line string) ([]string, error) {
	t.Helper()
	set := pflag.NewFlagSet("build", pflag.ContinueOnError)
	foreign := Register(set)
	if err := set.Parse(strings.Fields(line)); err != nil {
		t.Fatal(line, err)
	}
	return foreign.Take()
}

func TestForeignFlagsAreSilentNotedOrRefused(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		"":                               nil,
		"--rm --force-rm -D --builder b": nil,
		"--sbom=false --provenance=false --rm=true --compat-volumes=false": nil,
		"--rm=false --rm":  {"--rm=false has no effect: steps leave no containers behind"},
		"--compat-volumes": {"--compat-volumes has no effect: what RUN writes below a VOLUME stays, as with BuildKit"},
	} {
		got, err := taken(t, line)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", line, err, diff)
		}
	}
	for line, want := range map[string]string{
		"--decryption-key key:secret": "--decryption-key is not supported: encrypted images are not read\nhint: skopeo copy",
		"--sbom true":                 "--sbom is not supported: no SBOM is made\nhint: scan",
	} {
		_, err := taken(t, line)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", line, err)
		}
	}
}
