package build_test

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build"
)

var update = flag.Bool("update", false, "write the golden files")

// checkRequest is a request for one of the files in testdata/check, with "hidden" ignored and a store that doesn't exist.
func checkRequest(t *testing.T, name string) build.Request {
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
	return build.Request{Context: ".", Store: build.StoreOptions{Root: filepath.Join(dir, "store")}}
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
			res, err := build.Check(t.Context(), checkRequest(t, file), build.LookLocal)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, base+".json", res.WriteJSON)
			golden(t, base+".txt", func(w io.Writer) error {
				err := res.WriteText(w)
				if res.Err != nil {
					_, err = io.WriteString(w, "error: "+res.Err.Error()+"\n")
				}
				return err
			})
			if _, err := os.Stat("store"); err == nil {
				t.Error("the check has made a store")
			}
		})
	}
}

func TestDescriptionsAreWrittenAsTextAndJSON(t *testing.T) {
	for _, file := range testdataFiles(t, "describe") {
		base := strings.TrimSuffix(file, ".Dockerfile")
		t.Run(filepath.Base(base), func(t *testing.T) {
			req := checkRequest(t, file)
			given := "from outside"
			req.BuildArgs = map[string]*string{"GIVEN": &given}
			outline, err := build.Outline(t.Context(), req, build.LookLocal)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, base+".outline.json", outline.WriteJSON)
			golden(t, base+".outline.txt", outline.WriteText)
			targets, err := build.Targets(t.Context(), req)
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
		"skip replaces the directive":  {"BUILDKIT_DOCKERFILE_CHECK", "skip=MaintainerDeprecated", 1, ""},
		"error replaces the directive": {"BUILDKIT_DOCKERFILE_CHECK", "error=true", 2, "lint violation found for rules: MaintainerDeprecated, StageNameCasing"},
		"wrong option":                 {"BUILDKIT_DOCKERFILE_CHECK", "skipp=all", 0, `build argument BUILDKIT_DOCKERFILE_CHECK: invalid check option "skipp"`},
		"other frontend":               {"BUILDKIT_SYNTAX", "example.com/other:1 x", 0, `cooper does not support the frontend "example.com/other:1" of the build argument BUILDKIT_SYNTAX`},
		"known frontend":               {"BUILDKIT_SYNTAX", "docker/dockerfile:1-labs", 1, "lint violation found for rules: MaintainerDeprecated"},
		"built-in frontend":            {"BUILDKIT_SYNTAX", "dockerfile.v0", 1, "lint violation found for rules: MaintainerDeprecated"},
	} {
		t.Run(name, func(t *testing.T) {
			req := checkRequest(t, file[len(file)-1])
			req.BuildArgs = map[string]*string{tt.arg: &tt.value}
			res, err := build.Check(t.Context(), req, build.LookLocal)
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Warnings) != tt.warnings || (res.Err == nil) != (tt.err == "") || (res.Err != nil && !strings.Contains(res.Err.Error(), tt.err)) {
				t.Errorf("got %d warnings, %v", len(res.Warnings), res.Err)
			}
		})
	}
}

func TestCheckTellsWhatItCouldNotLookAt(t *testing.T) {
	req := checkRequest(t, testdataFiles(t, "check")[0])
	if err := os.WriteFile("Dockerfile", []byte("FROM missing:1\nCOPY $x /\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	req.BuildArgs = map[string]*string{"UNUSED": nil}
	res, err := build.Check(t.Context(), req, build.LookLocal)
	if err != nil || res.Err != nil || len(res.Warnings) != 0 || len(res.Notes) != 2 {
		t.Fatalf("got %+v, %v", res, err)
	}
	if !strings.Contains(res.Notes[0], "One or more build-args [UNUSED] were not consumed") || !strings.HasPrefix(res.Notes[1], "missing:1 is not in the local store") {
		t.Errorf("notes %q", res.Notes)
	}
}
