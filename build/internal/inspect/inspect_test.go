package inspect_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/internal/inspect"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

var update = flag.Bool("update", false, "write the golden files")

// unknown is a resolver that knows no image.
type unknown struct{}

func (unknown) Resolve(context.Context, string, plan.Wanted) (imagebuilder.Base, error) {
	return imagebuilder.Base{}, plan.ErrUnknownImage
}

// directory makes a context of one of the files in testdata, with "hidden" ignored, the current one.
func directory(t *testing.T, name string) {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{"Dockerfile": text, ".dockerignore": []byte("hidden\n")} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// read reads the Dockerfile of the current directory.
func read(t *testing.T, args map[string]*string) inspect.Dockerfile {
	t.Helper()
	contexts := inputs.New(inputs.Options{
		Context: ".", BuildArgs: args, Progress: progress.Discard{}, Shown: progress.NewAsides(progress.Discard{}),
	}, nil)
	defer func() {
		if err := contexts.Close(); err != nil {
			t.Error(err)
		}
	}()
	file, err := contexts.ReadMain(t.Context())
	if placed := new(dockerfile.Error); err != nil && !errors.As(err, &placed) {
		t.Fatal(err)
	}
	in := inspect.Dockerfile{File: file, Err: err, Options: plan.Options{
		BuildArgs: args, BuildPlatform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, Resolver: unknown{},
	}}
	if file.Ignore != nil {
		in.Options.Ignore = file.Ignore
	}
	return in
}

func golden(t *testing.T, path string, write func(io.Writer) error) {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s differs (-update writes it):\n%s", path, b.String())
	}
}

// testdataFiles are the Dockerfiles of a directory, by absolute path: the tests change the directory.
func testdataFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.Dockerfile"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for n := range files {
		if files[n], err = filepath.Abs(files[n]); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestCheckWritesTextAndJSON(t *testing.T) {
	for _, file := range testdataFiles(t, "check") {
		base := strings.TrimSuffix(file, ".Dockerfile")
		t.Run(filepath.Base(base), func(t *testing.T) {
			directory(t, file)
			res := inspect.Check(t.Context(), read(t, nil))
			golden(t, base+".json", res.WriteJSON)
			golden(t, base+".txt", func(w io.Writer) error {
				err := res.WriteText(w)
				if res.Err != nil {
					_, err = io.WriteString(w, "error: "+res.Err.Error()+"\n")
				}
				return err
			})
		})
	}
}

func TestDescriptionsAreWrittenAsTextAndJSON(t *testing.T) {
	for _, file := range testdataFiles(t, "describe") {
		base := strings.TrimSuffix(file, ".Dockerfile")
		t.Run(filepath.Base(base), func(t *testing.T) {
			directory(t, file)
			given := "from outside"
			in := read(t, map[string]*string{"GIVEN": &given})
			outline, err := inspect.Outline(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, base+".outline.json", outline.WriteJSON)
			golden(t, base+".outline.txt", outline.WriteText)
			targets, err := inspect.Targets(in)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, base+".targets.json", targets.WriteJSON)
			golden(t, base+".targets.txt", targets.WriteText)
		})
	}
}

func TestCheckOptionsComeFromBuildArguments(t *testing.T) {
	file := testdataFiles(t, "check")
	for name, tt := range map[string]struct {
		arg, value string
		warnings   int
		err        string
	}{
		"skip replaces the directive": {"BUILDKIT_DOCKERFILE_CHECK", "skip=MaintainerDeprecated", 1, ""},
		"error replaces the directive": {"BUILDKIT_DOCKERFILE_CHECK", "error=true", 2,
			"lint violation found for rules: MaintainerDeprecated, StageNameCasing"},
		"wrong option": {"BUILDKIT_DOCKERFILE_CHECK", "skipp=all", 0,
			`build argument BUILDKIT_DOCKERFILE_CHECK: invalid check option "skipp"`},
		"other frontend": {"BUILDKIT_SYNTAX", "example.com/other:1 x", 0,
			`cooper does not support the frontend "example.com/other:1" of the build argument BUILDKIT_SYNTAX`},
		"known frontend": {"BUILDKIT_SYNTAX", "docker/dockerfile:1-labs", 1,
			"lint violation found for rules: MaintainerDeprecated"},
		"built-in frontend": {"BUILDKIT_SYNTAX", "dockerfile.v0", 1,
			"lint violation found for rules: MaintainerDeprecated"},
	} {
		t.Run(name, func(t *testing.T) {
			directory(t, file[len(file)-1])
			res := inspect.Check(t.Context(), read(t, map[string]*string{tt.arg: &tt.value}))
			if len(res.Warnings) != tt.warnings || (res.Err == nil) != (tt.err == "") ||
				(res.Err != nil && !strings.Contains(res.Err.Error(), tt.err)) {
				t.Errorf("got %d warnings, %v", len(res.Warnings), res.Err)
			}
		})
	}
}

func TestCheckTellsWhatItCouldNotLookAt(t *testing.T) {
	directory(t, testdataFiles(t, "check")[0])
	if err := os.WriteFile("Dockerfile", []byte("FROM missing:1\nCOPY $x /\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	res := inspect.Check(t.Context(), read(t, map[string]*string{"UNUSED": nil}))
	if res.Err != nil || len(res.Warnings) != 0 || len(res.Notes) != 2 {
		t.Fatalf("got %+v", res)
	}
	if !strings.Contains(res.Notes[0], "One or more build-args [UNUSED] were not consumed") ||
		!strings.HasPrefix(res.Notes[1], "missing:1 is not in the local store") {
		t.Errorf("notes %q", res.Notes)
	}
}
