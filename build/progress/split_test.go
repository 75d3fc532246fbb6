package progress

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// texts writes the texts of events, a line each.
type texts struct{ to *bytes.Buffer }

func (t texts) Emit(e Event) {
	switch e := e.(type) {
	case Note:
		fmt.Fprintln(t.to, e.Text)
	case StepStarted:
		fmt.Fprintln(t.to, e.Text)
	case StepOutput:
		fmt.Fprintf(t.to, "%s", e.Data)
	case Transfer:
		fmt.Fprintln(t.to, e.What)
	case StepDone:
		if e.Err != nil {
			fmt.Fprintln(t.to, e.Err)
		}
	}
}

func (texts) Close() error { return nil }

// splitting gives a split renderer and what its files get, by platform.
func splitting() (Renderer, map[string]*bytes.Buffer) {
	files := map[string]*bytes.Buffer{}
	return NewSplit(true, func(platforms []string) (all []Renderer, err error) {
		if len(platforms) == 0 {
			platforms = []string{""}
		}
		for _, p := range platforms {
			files[p] = new(bytes.Buffer)
			all = append(all, texts{files[p]})
		}
		return all, nil
	}), files
}

func TestEachPlatformIsShownWhatConcernsIt(t *testing.T) {
	t.Parallel()
	r, files := splitting()
	r.Emit(Note{Text: "early"})
	data := []byte("inner\n")
	r.Emit(StepStarted{ID: 100, Text: "FROM target"})
	r.Emit(StepOutput{ID: 100, Data: data})
	copy(data, "later") // whoever emits writes over it
	r.Emit(Planned{Platforms: []string{"linux/amd64", "linux/arm64"}})
	r.Emit(StepStarted{ID: 0, Text: "RUN both", For: []string{"linux/amd64", "linux/arm64"}})
	r.Emit(StepStarted{ID: 1, Text: "RUN arm", For: []string{"linux/arm64"}})
	r.Emit(StepOutput{ID: 1, Data: []byte("of arm\n")})
	r.Emit(Transfer{ID: 1, What: "moved", Done: 1, Total: 1})
	r.Emit(StepDone{ID: 1, Err: errors.New("arm fails")})
	r.Emit(StepDone{ID: 0})
	r.Emit(StepStarted{ID: -1, Text: "writing out"})
	r.Emit(StepDone{ID: -1})
	r.Emit(Planned{Platforms: []string{"linux/s390x"}}) // a further attempt
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.Emit(Note{Text: "late"})
	for platform, file := range files {
		for _, text := range []string{"early", "inner", "RUN both", "writing out"} {
			if !strings.Contains(file.String(), text) {
				t.Errorf("%s isn't told %q:\n%s", platform, text, file)
			}
		}
		for _, text := range []string{"RUN arm", "of arm", "moved", "arm fails"} {
			if strings.Contains(file.String(), text) != (platform == "linux/arm64") {
				t.Errorf("%s and %q:\n%s", platform, text, file)
			}
		}
	}
	if len(files) != 2 || strings.Contains(fmt.Sprint(files), "late") {
		t.Errorf("files are %v", files)
	}
}

func TestABuildThatEndsBeforeItsPlatformsAreKnownIsShownAtOnePlace(t *testing.T) {
	t.Parallel()
	r, files := splitting()
	r.Emit(Note{Text: "early"})
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(files) != 1 || files[""].String() != "early\n" {
		t.Errorf("files are %v", files)
	}
}

func TestAFileThatCanNotBeOpenedIsToldAtTheEnd(t *testing.T) {
	t.Parallel()
	full := errors.New("disk is full")
	r := NewSplit(true, func([]string) ([]Renderer, error) { return nil, full })
	r.Emit(Planned{Platforms: []string{"linux/amd64"}})
	r.Emit(StepStarted{ID: 1})
	r.Emit(StepDone{ID: 1})
	if err := r.Close(); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}
