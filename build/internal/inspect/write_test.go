package inspect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/internal/inspect"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// errFull is that of a disk that takes no more.
var errFull = errors.New("no space")

// full takes some bytes and then no more.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return max(0, f.left+len(p)), errFull
	}
	return len(p), nil
}

func everyResult() map[string]func(io.Writer) error {
	source := inputs.Source{Name: "Dockerfile", Text: []byte("FROM a\nRUN b\n")}
	at := dockerfile.Location{StartLine: 1, EndLine: 2}
	check := inspect.CheckResult{Source: source, Warnings: []dockerfile.Warning{
		{Rule: "One", URL: "https://example.com", Message: "first", Location: at}, {Rule: "Two", Message: "second"}}}
	outline := inspect.OutlineResult{Source: source, Outline: plan.Outline{Name: "t", Description: "d",
		Args:    []plan.OutlineArg{{Name: "A", Value: "1", Description: "d"}},
		Secrets: []plan.OutlineMount{{Name: "s", Required: true}}, SSH: []plan.OutlineMount{{Name: "default"}}}}
	targets := inspect.TargetsResult{Source: source, Targets: []plan.Target{{Name: "t"}, {Default: true}}}
	return map[string]func(io.Writer) error{
		"check": check.WriteText, "check, JSON": check.WriteJSON, "outline": outline.WriteText,
		"outline, JSON": outline.WriteJSON,
		"targets":       targets.WriteText, "targets, JSON": targets.WriteJSON,
	}
}

func TestAReportThatCanNotBeWrittenIsAnErrorWhereverItBreaksOff(t *testing.T) {
	t.Parallel()
	for name, write := range everyResult() {
		var whole bytes.Buffer
		if err := write(&whole); err != nil {
			t.Fatal(name, err)
		}
		for n := range whole.Len() {
			if err := write(&full{n}); !errors.Is(err, errFull) {
				t.Errorf("%s, broken off after %d of %d bytes: %v", name, n, whole.Len(), err)
			}
		}
		if err := write(&full{whole.Len()}); err != nil {
			t.Errorf("%s, with room for all of it: %v", name, err)
		}
	}
}

func TestTextsOfAReportDoNotCommandATerminal(t *testing.T) {
	t.Parallel()
	const evil = "x\x1b[2J\x07\u202e\r\ny"
	at := dockerfile.Location{StartLine: 1, EndLine: 1}
	source := inputs.Source{Name: "Dockerfile", Text: []byte("FROM " + evil)}
	for name, write := range map[string]func(io.Writer) error{
		"check": inspect.CheckResult{Source: source,
			Warnings: []dockerfile.Warning{{Rule: "R", Message: evil, Location: at}}}.WriteText,
		"outline": inspect.OutlineResult{Outline: plan.Outline{Name: evil, Description: evil,
			Args:    []plan.OutlineArg{{Name: evil, Value: evil, Description: evil}},
			Secrets: []plan.OutlineMount{{Name: evil}}}}.WriteText,
		"targets": inspect.TargetsResult{Targets: []plan.Target{{Name: evil, Description: evil}}}.WriteText,
	} {
		var text bytes.Buffer
		if err := write(&text); err != nil {
			t.Fatal(name, err)
		}
		if strings.ContainsAny(text.String(), "\x1b\x07\u202e\r") {
			t.Errorf("%s: %q", name, text.String())
		}
	}
}

func TestJSONHasTheTextsAsTheyAre(t *testing.T) {
	t.Parallel()
	const odd = "<a> & \x1b[2J\"quoted\""
	var text bytes.Buffer
	res := inspect.CheckResult{Warnings: []dockerfile.Warning{{Rule: "R", Message: odd}},
		Source: inputs.Source{Name: "D", Text: []byte{0xff, 0}}, Err: errors.New(odd)}
	if err := res.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Warnings []struct {
			Detail   string         `json:"detail"`
			Location map[string]any `json:"location"`
		} `json:"warnings"`
		Sources []struct {
			Data []byte `json:"data"`
		} `json:"sources"`
		BuildError struct {
			Message string `json:"message"`
		} `json:"buildError"`
	}
	if err := json.Unmarshal(text.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Warnings) != 1 || got.Warnings[0].Detail != odd || len(got.Warnings[0].Location) != 0 ||
		got.BuildError.Message != odd || !bytes.Equal(got.Sources[0].Data, []byte{0xff, 0}) {
		t.Errorf("%+v in %s", got, text.String())
	}
	if strings.Contains(text.String(), `\u003c`) {
		t.Error("it is written for HTML")
	}
}

func TestWhatIsWrongWithTheTextIsInEveryAnswer(t *testing.T) {
	directory(t, testdataFiles(t, "check")[0])
	if err := os.WriteFile("Dockerfile", []byte("FROM scratch\nMAINTAINER me\nRUN --mount=bad x\nNOTHING\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	in := read(t, nil)
	placed := new(dockerfile.Error)
	if _, err := inspect.Outline(t.Context(), in); !errors.As(err, &placed) {
		t.Errorf("outline: %v", err)
	}
	if _, err := inspect.Targets(in); !errors.As(err, &placed) {
		t.Errorf("targets: %v", err)
	}
	res := inspect.Check(t.Context(), in)
	if !errors.As(res.Err, &placed) || placed.Location.StartLine == 0 {
		t.Errorf("check: %v", res.Err)
	}
	var text bytes.Buffer
	if err := res.WriteJSON(&text); err != nil || !strings.Contains(text.String(), `"buildError"`) {
		t.Errorf("%s, %v", text.String(), err)
	}
}

func TestATargetThatIsNotThereIsAnErrorOfTheOutline(t *testing.T) {
	directory(t, testdataFiles(t, "describe")[0])
	in := read(t, nil)
	in.Options.Target = "nowhere"
	if _, err := inspect.Outline(t.Context(), in); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("got %v", err)
	}
}

// broken is a resolver that fails.
type broken struct{ err error }

func (b broken) Resolve(context.Context, string, plan.Wanted) (imagebuilder.Base, error) {
	return imagebuilder.Base{}, b.err
}

func TestAnImageThatCanNotBeLookedAtIsAnError(t *testing.T) {
	directory(t, testdataFiles(t, "check")[0])
	if err := os.WriteFile("Dockerfile", []byte("FROM image:1\nCOPY a /\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	in := read(t, nil)
	in.Options.Resolver = broken{errFull}
	if res := inspect.Check(t.Context(), in); !errors.Is(res.Err, errFull) {
		t.Errorf("check: %v", res.Err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in.Options.Resolver = broken{context.Canceled}
	if res := inspect.Check(ctx, in); !errors.Is(res.Err, context.Canceled) {
		t.Errorf("after the end: %v", res.Err)
	}
}

func TestATargetOfAnotherFileIsNotBuiltByACheck(t *testing.T) {
	directory(t, testdataFiles(t, "check")[0])
	if err := os.WriteFile("Dockerfile", []byte("FROM other\nRUN x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	in := read(t, nil)
	in.Options.Contexts = map[string]plan.NamedContext{"other": {Kind: plan.ContextTarget, Ref: "dir#stage"}}
	res := inspect.Check(t.Context(), in)
	if res.Err != nil || !slices.ContainsFunc(res.Notes, func(n string) bool {
		return strings.HasPrefix(n, "target:dir#stage is not built by a check: ")
	}) {
		t.Errorf("it says %q, %v", res.Notes, res.Err)
	}
}
