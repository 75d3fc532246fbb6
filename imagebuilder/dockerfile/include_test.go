package dockerfile_test

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// files are an Includer of files by their paths.
type files map[string]string

func (f files) read(from, name string) (dockerfile.Text, error) {
	at := path.Join(path.Dir(from), name)
	text, ok := f[at]
	if !ok {
		return dockerfile.Text{}, errors.New("there is no file " + at)
	}
	return dockerfile.Text{Name: at, Text: []byte(text)}, nil
}

const own = "# syntax=cooper/dockerfile:1\n"

func TestIncludedInstructionsStandInThePlaceOfInclude(t *testing.T) {
	t.Parallel()
	f := files{
		"parts/base":      "ARG V=1\nFROM scratch AS base\nENV A=$V\n",
		"parts/more":      "RUN one\ninclude deep/last\n",
		"parts/deep/last": "# escape=`\nRUN two `\n three\n",
	}
	file, err := dockerfile.Parse("Dockerfile",
		[]byte(own+"INCLUDE parts/base\nINCLUDE   parts/more  \nFROM base\nINCLUDE parts/more\n"),
		dockerfile.Options{Include: f.read})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, stage := range file.Stages {
		got = append(got, "FROM "+stage.BaseName)
		for _, c := range stage.Commands {
			at := file.Location(c.Location())
			text := fmt.Sprint(c)
			if run, is := c.(*instructions.RunCommand); is {
				text = strings.Join(run.CmdLine, " ")
			}
			got = append(got, fmt.Sprintf("%s %s:%d-%d", strings.Fields(text)[0], at.File, at.StartLine, at.EndLine))
		}
	}
	want := "FROM scratch, ENV parts/base:3-3, one parts/more:1-1, two parts/deep/last:2-3, " +
		"FROM base, one parts/more:1-1, two parts/deep/last:2-3"
	if text := strings.Join(got, ", "); text != want || len(file.MetaArgs) != 1 {
		t.Errorf("%s, with %d arguments before", text, len(file.MetaArgs))
	}
}

func TestAnIncludeThatCannotBeIsAnErrorInItsLine(t *testing.T) {
	t.Parallel()
	f := files{"self": "RUN x\nINCLUDE self\n", "a": "INCLUDE b\n", "b": "INCLUDE a\n", "wrong": "RUN x\nRNU y\n",
		"empty": "\n", "onbuild": "ONBUILD FROM x\n", "large": strings.Repeat("RUN x\n", 3<<20),
		"Dockerfile": "FROM scratch\n"}
	f["deep0"] = "RUN x\n"
	for n := range 40 {
		f[fmt.Sprint("deep", n+1)] = fmt.Sprint("INCLUDE deep", n)
	}
	for text, want := range map[string]string{
		"INCLUDE":                               "Dockerfile:3: INCLUDE names no file",
		"INCLUDE none":                          "Dockerfile:3: INCLUDE none: there is no file none",
		"INCLUDE $X":                            "Dockerfile:3: INCLUDE $X: variables are not expanded in it",
		"INCLUDE self":                          "self:2: INCLUDE self: the file includes itself",
		"INCLUDE a":                             "b:1: INCLUDE a: the file includes itself",
		"INCLUDE Dockerfile":                    "Dockerfile:3: INCLUDE Dockerfile: the file includes itself",
		"INCLUDE wrong":                         "wrong:2: unknown instruction \"RNU\"",
		"INCLUDE empty":                         "empty: the Dockerfile is empty",
		"INCLUDE onbuild":                       "onbuild:1: ONBUILD FROM is not allowed",
		"INCLUDE large":                         "all included files are larger than",
		"INCLUDE deep40":                        "and 32 in each other",
		strings.Repeat("INCLUDE deep0\n", 1001): "at most 1000 files are included",
	} {
		_, err := dockerfile.Parse("Dockerfile", []byte(own+"FROM scratch\n"+text+"\n"), dockerfile.Options{Include: f.read})
		if e := new(dockerfile.Error); !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30s: %v, not %s", text, err, want)
		}
	}
}

func TestOnlyAFileThatAsksForItHasInclude(t *testing.T) {
	t.Parallel()
	f := files{"a": "RUN x\n"}
	for first, want := range map[string]string{
		own:                                   "",
		"# syntax=cooper/dockerfile:1.2\n":    "",
		"":                                    "docker's language has no INCLUDE",
		"# syntax=docker/dockerfile:1\n":      "docker's language has no INCLUDE",
		"# syntax=cooper/dockerfile:2\n":      `cooper does not support the frontend "cooper/dockerfile:2"`,
		"# syntax=cooper/dockerfile:1-labs\n": `cooper does not support the frontend`,
	} {
		_, err := dockerfile.Parse("Dockerfile", []byte(first+"FROM scratch\nINCLUDE a\n"),
			dockerfile.Options{Include: f.read})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, not %q", first, err, want)
		}
	}
	asked := "cooper/dockerfile:1"
	if _, err := dockerfile.Parse("Dockerfile", []byte("FROM scratch\nINCLUDE a\n"),
		dockerfile.Options{Include: f.read, Syntax: &asked}); err != nil {
		t.Error(err)
	}
	if _, err := dockerfile.Parse("Dockerfile", []byte(own+"FROM scratch\nINCLUDE a\n"),
		dockerfile.Options{}); err == nil ||
		!strings.Contains(err.Error(), "there is no directory to take it from") {
		t.Error(err)
	}
}

func TestFromNamesStagesThatAreDoneBefore(t *testing.T) {
	t.Parallel()
	const text = "FROM a AS one\nFROM --after=one --after=$X --platform=linux/amd64 b\n"
	f, err := dockerfile.Parse("Dockerfile", []byte(own+text), dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(f.After(0), f.After(1), f.After(2)); got != "[] [one $X] []" || f.Stages[1].Platform == "" {
		t.Errorf("got %s of %+v", got, f.Stages)
	}
	_, err = dockerfile.Parse("Dockerfile", []byte(text), dockerfile.Options{})
	if err == nil || !strings.Contains(err.Error(), "Dockerfile:2: docker's language has no FROM --after") ||
		!strings.Contains(err.Error(), "asks for it") {
		t.Errorf("got %v", err)
	}
}
