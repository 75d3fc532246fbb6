package buildflags

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/show"
)

func plainly(f *os.File) progress.Renderer { return show.New(show.ModePlain, f) }

func TestALogIsSplitIntoAFileForEachPlatform(t *testing.T) {
	t.Parallel()
	for platforms, want := range map[string]string{
		"":                         "log",
		"linux/amd64":              "log_linux_amd64",
		"linux/amd64 linux/arm/v7": "log_linux_amd64 log_linux_arm",
		"linux/arm/v6 linux/arm/v7 linux/amd64": "log_linux_arm_v6 log_linux_arm_v7 " +
			"log_linux_amd64",
	} {
		l := Log{File: filepath.Join(t.TempDir(), "log"), split: true}
		r, closeFiles, err := l.Open(true, plainly)
		if err != nil {
			t.Fatal(err)
		}
		r.Emit(progress.Note{Text: "noted"})
		if platforms != "" {
			r.Emit(progress.Planned{Platforms: strings.Fields(platforms)})
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if err := closeFiles(); err != nil {
			t.Fatal(err)
		}
		for name := range strings.FieldsSeq(want) {
			text, err := os.ReadFile(filepath.Join(filepath.Dir(l.File), name))
			if err != nil || string(text) != "noted\n" {
				t.Errorf("%s: %s has %q, %v", platforms, name, text, err)
			}
		}
		made, err := os.ReadDir(filepath.Dir(l.File))
		if diff := cmp.Diff(len(strings.Fields(want)), len(made)); err != nil || diff != "" {
			t.Errorf("%s: %v, %v", platforms, made, err)
		}
	}
}

func TestALogThatCanNotBeMadeIsAnError(t *testing.T) {
	t.Parallel()
	for _, split := range []bool{false, true} {
		l := Log{File: filepath.Join(t.TempDir(), "none", "log"), split: split}
		r, closeFiles, err := l.Open(true, plainly)
		if err == nil {
			err = r.Close()
		}
		if closeErr := closeFiles(); err == nil || !strings.Contains(err.Error(), "--logfile: ") || closeErr != nil {
			t.Errorf("split %t: got %v, %v", split, err, closeErr)
		}
	}
	if err := (&Log{split: true}).Check(); err == nil || !strings.Contains(err.Error(), "--logfile") {
		t.Errorf("--logsplit alone: %v", err)
	}
}
