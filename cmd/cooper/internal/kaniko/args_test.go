package kaniko

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// given makes a build of words; the file /etc/Dockerfile and here/Dockerfile exist.
func argsOf(t *testing.T, words string) (Build, error) {
	t.Helper()
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	a := Register(f)
	if err := f.Parse(strings.Fields(words)); err != nil {
		t.Fatalf("%s: %v", words, err)
	}
	return a.Build(func(path string) bool { return path == "here/Dockerfile" })
}

func TestArgumentsAreFlagsOfABuild(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]string{
		"-d r/a:1":                                                         "--tag=r/a:1 --output=type=registry /workspace",
		"--context=dir:///w --no-push":                                     "/w",
		"-c . --no-push --context-sub-path=x":                              "x",
		"-c /w -f docker/Dockerfile --no-push":                             "--file=/w/docker/Dockerfile /w",
		"-c /w -f here/Dockerfile --no-push":                               "--file=here/Dockerfile /w",
		"-c tar:///c.tar.gz -f a --no-push":                                "--file=a /c.tar.gz",
		"-c tar://stdin --no-push":                                         "-",
		"-c git://h/r.git#refs/heads/m#abc --no-push --context-sub-path=d": "https://h/r.git#abc:d",
		"-c git://h/r.git --no-push":                                       "https://h/r.git",
		"--no-push --tar-path=a.tar -c /w -d a:1":                          "--tag=a:1 --output=type=docker,dest=a.tar /w",
		"-d h:5000/a:1 -d b -c /w --compression=zstd --compression-level=3 --cache --oci-layout-path=l": "--tag=h:5000/a:1 --tag=b " +
			"--output=type=registry,compression=zstd,compression-level=3 --output=type=oci,tar=false,dest=l " +
			"--cache-from=h:5000/a/cache --cache-to=h:5000/a/cache /w",
		"--no-push -c /w --cache=true --cache-repo=r/c":  "--cache-from=r/c /w",
		"--no-push -c /w --cache=false --cache-repo=r/c": "/w",
		"--no-push -c /w --build-arg=A=b --build-arg C --label=x=y --target=t --custom-platform=linux/arm64": "--build-arg=A=b " +
			"--build-arg=C --label=x=y --target=t --platform=linux/arm64 /w",
		"--no-push -c /w --reproducible --single-snapshot --insecure --skip-tls-verify-pull -v error --push-retry=2": "--timestamp=0 " +
			"--squash --tls-verify=false --quiet --retry=2 /w",
		"--no-push -c /w --snapshot-mode=redo --use-new-run --cleanup --ignore-path=/x --cache-ttl=6h --verbosity=debug": "/w",
	} {
		b, err := argsOf(t, words)
		if diff := cmp.Diff(want, strings.Join(append(b.Flags, b.Context), " ")); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", words, err, diff)
		}
	}
}

func TestWhatCannotBeDoneIsRefusedWithTheWayThatWorks(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]string{
		"-c /w":                               "there is no --destination\nhint: --no-push",
		"-c s3://b/x --no-push":               "there is no s3:// context\nhint: fetch it",
		"--registry-mirror=m -c /w --no-push": "--registry-mirror is not supported: mirrors are in registries.conf\nhint: [[registry]]",
		"-c tar://stdin --context-sub-path=x --no-push": "has no directories to choose from",
	} {
		if _, err := argsOf(t, words); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", words, err)
		}
	}
}

func TestEveryFlagSaysWhatBecomesOfIt(t *testing.T) {
	t.Parallel()
	for _, f := range Flags() {
		if (f.Kind != Same && f.Text == "") || (f.Kind == Refused) != (f.Way != "") {
			t.Errorf("--%s: %+v", f.Name, f)
		}
	}
}
