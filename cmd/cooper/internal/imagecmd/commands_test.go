package imagecmd

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build/archives"
	"github.com/cooperbuild/cooper/build/catalog"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// execute runs a command line; nothing that it asks for must need a store.
func execute(args ...string) error {
	root := &cobra.Command{Use: "cooper", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(command.Make(Verbs(), command.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})...)
	root.SetArgs(args)
	return root.Execute()
}

func TestWrongCommandLinesAreRefusedBeforeAnythingIsDone(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"history":                                          "history takes one image, got 0 words",
		"history a b":                                      "history takes one image, got 2 words",
		"history -q --format x a":                          "--quiet and --format: give one of them",
		"history --format {{.No}} a":                       "--format: there is no field .No\nhint: the fields are .ID .Created",
		"history --platform a/b/c/d a":                     "--platform",
		"inspect":                                          "inspect takes the images to show, got nothing",
		"inspect --type=pod a":                             "--type=pod: cooper has images and working containers only\nhint: podman inspect --type=pod",
		"inspect --type=thing a":                           "--type=thing: must be image, container or all",
		"inspect -f {{.No}} a":                             "--format: there is no field .No\nhint: the fields are .ID .Digest",
		"inspect --platform=linux/amd64,linux/arm64 a":     "--platform=linux/amd64,linux/arm64: must be one platform",
		"image frobnicate":                                 "unknown command \"frobnicate\" of image",
		"image exists":                                     "exists takes one image",
		"image prune a":                                    "image prune takes no arguments",
		"image rm":                                         "got nothing",
		"images --filter until=yesterday":                  "must be a date",
		"save --all-platforms a":                           "docker-archive has room for one platform",
		"save --all-platforms a b":                         "--all-platforms takes one index",
		"save --all-platforms --format=oci-dir":            "got nothing",
		"load --all-platforms --platform=linux/arm64 -i x": "contradict each other",
		"save":                        "save takes the images to save, got nothing",
		"save --format=zip a":         "--format=zip: must be one of docker-archive, docker-dir, oci-archive, oci-dir",
		"save --format=oci-dir a":     "--format=oci-dir is a directory: say which with --output",
		"save --compress a":           "--compress is for --format=docker-dir",
		"save --uncompressed a":       "--uncompressed is for --format=oci-archive and oci-dir",
		"save --progress=loud -o x a": "loud",
		"load x":                      `load takes no arguments, got "x"` + "\nhint: cooper load --input x",
		"load --platform=a,b -i x":    "--platform",
		"pull":                        "pull takes the names of images, got nothing",
		"pull --policy=often a":       "--policy=often: must be always, missing, newer or never",
		"pull --retry=-1 a":           "--retry=-1, --retry-delay=0s: must not be negative",
		"pull --creds=x a":            "--creds=x: standard input is no terminal",
		"pull -a a:1":                 "--all-tags takes a name without a tag, got a:1",
		"pull -a oci:dir":             "oci:dir is a file: --all-tags and several platforms are for registries",
		"pull UPPER":                  `image name "UPPER"`,
		"pull --platform=a/b/c/d a":   "--platform",
		"push a docker-daemon:a":      "cooper speaks with no daemon",
		"push a oci:":                 "oci:: ",
		"push --digestfile f a dir:d": "--digestfile is for registries",
		"push a docker://UPPER":       "UPPER",
		"pull --arch=arm64 --platform=linux/arm64 a": "contradict each other",
		"images --json -q":                           "give one of them",
		"diff a":                                     "diff takes two images, got 1 words",
		"diff --format=xml a b":                      "--format=xml: must be text or json",
	} {
		err := execute(strings.Fields(line)...)
		if usage := new(command.UsageError); !errors.As(err, usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("cooper %s: %v\nwant %q", line, err, want)
		}
	}
}

func TestWhatWasLoadedIsSaidByNameOrElseByID(t *testing.T) {
	t.Parallel()
	out, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	err = writeLoaded(command.Env{Stdout: out}, []archives.Loaded{{ID: "1", Names: []string{"a:1", "b\x1b:2"}}, {ID: "2"}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out.Name())
	if want := "Loaded image: a:1\nLoaded image: b?:2\nLoaded image ID: sha256:2\n"; err != nil || string(text) != want {
		t.Errorf("%q, %v", text, err)
	}
}

func TestTheRowsOfAHistoryAreOneHarmlessLineEach(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("0123456789abcdef", 4)
	steps := []catalog.Step{
		{ID: id, CreatedBy: "RUN a\nb\t\x1b[2J" + strings.Repeat("ä", 50), Size: 2048, Tags: []string{"a\x1b:1"},
			Created: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)},
		{ID: catalog.MissingID, Comment: "by\r\nme"},
	}
	short := historyOptions{human: true}
	got := short.rows(steps)
	if want := "RUN a b ?[2J" + strings.Repeat("ä", 32) + "…"; got[0].CreatedBy != want {
		t.Errorf("shortened it is %q, not %q", got[0].CreatedBy, want)
	}
	if got[0].ID != id[:12] || got[0].Size != "2.05kB" || !strings.HasSuffix(got[0].CreatedSince, " ago") ||
		!slices.Equal(got[0].Tags, []string{"a?:1"}) {
		t.Errorf("for people it is %+v", got[0])
	}
	if got[1] = short.rows(steps)[1]; got[1].ID != "<missing>" || got[1].CreatedSince != "" || got[1].Comment != "by  me" {
		t.Errorf("without an image it is %+v", got[1])
	}
	whole := historyOptions{noTrunc: true}
	if r := whole.rows(steps)[0]; r.ID != "sha256:"+id || r.Size != "2048" || r.CreatedSince != "2026-01-02T03:04:05Z" ||
		strings.Contains(r.CreatedBy, "…") {
		t.Errorf("in full it is %+v", r)
	}
}
