package dockerfile_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

func TestParseKeepsStagesArgumentsAndLines(t *testing.T) {
	f, err := dockerfile.Parse("x/Containerfile", []byte("ARG A=1\nARG B\nFROM one AS First\nRUN a \\\n  b\nFROM two\n"),
		dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Stages) != 2 || f.Stages[0].Name != "first" || len(f.MetaArgs) != 2 || f.Escape != '\\' || len(f.Lines) != 6 {
		t.Errorf("got %+v", f)
	}
	loc := f.Location(f.Stages[0].Commands[0].Location())
	if loc != (dockerfile.Location{File: "x/Containerfile", StartLine: 4, EndLine: 5}) {
		t.Errorf("RUN is at %+v", loc)
	}
	if text := f.Text(loc); text != "RUN a \\\n  b" {
		t.Errorf("RUN is %q", text)
	}
}

func TestLintFindings(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"clean", "FROM a\nRUN b\n", nil},
		{"stage name in upper case", "FROM a AS B\n", []string{"1 StageNameCasing"}},
		{"reserved stage name", "FROM a AS context\n", []string{"1 ReservedStageName"}},
		{"stage name twice", "FROM a AS b\nFROM a AS b\n", []string{"2 DuplicateStageName"}},
		{"as in lower case", "FROM a as b\n", []string{"1 FromAsCasing"}},
		{"one instruction in lower case", "FROM a\nrun b\n", []string{"2 ConsistentInstructionCasing"}},
		{"one instruction in upper case", "from a\nrun b\nRUN c\n", []string{"3 ConsistentInstructionCasing"}},
		{"maintainer", "FROM a\nMAINTAINER b\n", []string{"2 MaintainerDeprecated"}},
		{"empty continuation", "FROM a\nRUN b \\\n\n  c\n", []string{"4 NoEmptyContinuation"}},
		{"all skipped", "# check=skip=all\nFROM a as B\nMAINTAINER b\n", nil},
		{"one skipped", "# check=skip=FromAsCasing\nFROM a as B\n", []string{"2 StageNameCasing"}},
		{"skipped for one instruction", "FROM a\n# check=skip=MaintainerDeprecated\nMAINTAINER b\nMAINTAINER c\n",
			[]string{"4 MaintainerDeprecated"}},
		{"experimental rule on demand", "# check=experimental=all\n# unrelated\nFROM a AS b\n",
			[]string{"3 InvalidDefinitionDescription"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := dockerfile.Parse("Dockerfile", []byte(tt.text), dockerfile.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range f.Warnings {
				got = append(got, fmt.Sprintf("%d %s", w.Location.StartLine, w.Rule))
				if w.Message == "" || w.URL == "" {
					t.Errorf("incomplete warning %+v", w)
				}
				if line := f.Lines[w.Location.StartLine-1]; w.Line != line {
					t.Errorf("warning shows %q, the line is %q", w.Line, line)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestKnownFrontendsAreAcceptedAndNeverFetched(t *testing.T) {
	for _, ref := range []string{
		"docker/dockerfile", "docker/dockerfile:1", "docker/dockerfile:1.7-labs", "docker.io/docker/dockerfile:1",
		"docker/dockerfile-upstream:master",
		"mirror.example.com:5000/docker/dockerfile:1", "docker/dockerfile:1@sha256:0123",
	} {
		if _, err := dockerfile.Parse("Dockerfile", []byte("#syntax="+ref+"\nFROM a\n"), dockerfile.Options{}); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	for _, ref := range []string{"tonistiigi/dockerfile:x", "docker/dockerfile2", "xdocker/dockerfile"} {
		if _, err := dockerfile.Parse("Dockerfile", []byte("#syntax="+ref+"\nFROM a\n"), dockerfile.Options{}); err == nil {
			t.Errorf("%s is accepted", ref)
		}
	}
}

func TestDirectives(t *testing.T) {
	const other = "cooper does not support the frontend"
	tests := []struct {
		name, text string
		escape     rune
		skipAll    bool
		err        string
	}{
		{"none", "FROM a\n", '\\', false, ""},
		{"all three, in any case and spacing", "#\tSyntax = docker/dockerfile:1-labs\n# ESCAPE=`\n#check=skip=all\nFROM a\n",
			'`', true, ""},
		{"not after a comment", "# hello\n# escape=`\nFROM a\n", '\\', false, ""},
		{"not after an empty line", "\n# escape=`\nFROM a\n", '\\', false, ""},
		{"not after an instruction", "FROM a\n# escape=`\n# syntax=other\n", '\\', false, ""},
		{"not after an unknown one", "# unknown=x\n# escape=`\n# syntax=other\nFROM a\n", '\\', false, ""},
		{"not if continued", "# esc\\\n# ape=`\nFROM a\n", '\\', false, ""},
		{"after a byte order mark", "\ufeff# escape=`\r\n# check=skip=all\r\nFROM a\r\n", '`', true, ""},
		{"after a shebang, but for escape", "#!/usr/bin/env cooper\n# check=skip=all\n# escape=`\nFROM a\n", '\\', true, ""},
		{"frontend after a shebang", "#!/x\n# syntax=other/one\nFROM a\n", 0, false, "Dockerfile:2: " + other +
			` "other/one"`},
		{"frontend with words after it", "# syntax=docker/dockerfile:1 one two\nFROM a\n", '\\', false, ""},
		{"frontend of a language with // comments", "// syntax=other/one\nlet x = 1\n", 0, false, "Dockerfile:1: " + other +
			` "other/one"`},
		{"frontend of a JSON text", "{\"syntax\": \"other/one\", \"x\": 1}\n", 0, false, "Dockerfile: " + other +
			` "other/one"`},
		{"known frontend with // comments is a Dockerfile", "// syntax=docker/dockerfile:1\nFROM a\n", 0, false,
			`Dockerfile:1: unknown instruction "//"`},
		{"escape twice", "# escape=`\n# escape=`\nFROM a\n", 0, false,
			"Dockerfile:2: only one escape parser directive can be used"},
		{"check twice", "# check=skip=all\n# CHECK=error=true\nFROM a\n", 0, false,
			"Dockerfile:2: only one check parser directive can be used"},
		{"syntax twice", "# syntax=docker/dockerfile\n# syntax=docker/dockerfile\nFROM a\n", 0, false,
			"Dockerfile:2: only one syntax parser directive can be used"},
		{"escape of another character", "# escape=x\nFROM a\n", 0, false,
			"Dockerfile:1: invalid escape token 'x' does not match ` or \\"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := dockerfile.Parse("Dockerfile", []byte(tt.text), dockerfile.Options{})
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
					t.Errorf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if f.Escape != tt.escape || f.Check.SkipAll != tt.skipAll {
				t.Errorf("escape %c, skip all %v", f.Escape, f.Check.SkipAll)
			}
		})
	}
}

func TestExcerptsShowTheLinesAround(t *testing.T) {
	text := "one\r\ntwo\nthree\x1b\nfour\nfive\nsix\n"
	tests := map[string]struct {
		start, end int
		want       string
	}{
		"one line": {3, 3, "D:3\n--------------------\n   1 |     one\n   2 |     two\n   3 | >>> three\\x1b\n   4 |     four\n   5 |     five\n--------------------\n"},
		"several":  {2, 3, "D:2\n--------------------\n   1 |     one\n   2 | >>> two\n   3 | >>> three\\x1b\n   4 |     four\n--------------------\n"},
		"the end":  {6, 9, "D:6\n--------------------\n   5 |     five\n   6 | >>> six\n   7 | >>> \n--------------------\n"},
		"the file": {0, 0, ""},
		"past it":  {9, 9, ""},
	}
	for name, tt := range tests {
		if got := dockerfile.Excerpt(strings.Split(text, "\n"), dockerfile.Location{File: "D", StartLine: tt.start,
			EndLine: tt.end}); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, tt.want)
		}
	}
}

func TestAFileThatCannotBeReadKeepsItsWarnings(t *testing.T) {
	f, err := dockerfile.Parse("Dockerfile", []byte("FROM a AS B\nMAINTAINER c\nNOPE\n"), dockerfile.Options{})
	if err == nil || f == nil || len(f.Warnings) != 2 {
		t.Fatalf("got %+v, %v", f, err)
	}
}

func TestHugeInputsAreRefusedNotWorkedOn(t *testing.T) {
	tests := map[string]string{
		"size": "FROM a\n" + strings.Repeat("RUN b\n", 1<<20),
		"braces": "FROM a\nRUN " + strings.Repeat("${a:-", 10_000) + "\\\n" +
			strings.Repeat(strings.Repeat("${a:-", 10_000)+"\\\n", 10) + "x\n",
		"nested onbuild": "FROM a\n" + strings.Repeat(strings.Repeat("ONBUILD ", 8000)+"\\\n", 60) + "RUN x\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := dockerfile.Parse("Dockerfile", []byte(text), dockerfile.Options{})
			if e := new(dockerfile.Error); !errors.As(err, &e) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestErrorShowsPlaceLinesAndHint(t *testing.T) {
	e := &dockerfile.Error{
		Location: dockerfile.Location{File: "D", StartLine: 9, EndLine: 10}, Line: "RUN a \\\n\tb", Message: "it is wrong",
		Hint: "do it right",
		Err:  errors.New("cause"),
	}
	want := "D:9: it is wrong: cause\n>  9 | RUN a \\\n> 10 | \tb\nhint: do it right"
	if e.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", e, want)
	}
	if !errors.Is(e, e.Err) {
		t.Error("the cause is lost")
	}
}

func TestNearestPrefersSwappedLetters(t *testing.T) {
	options := []string{"chmod", "chown", "from"}
	for name, want := range map[string]string{"chwon": "chown", "chomd": "chmod", "frm": "from", "FROMM": "FROM",
		"zzzzzz": "", "from": ""} {
		if got := dockerfile.Nearest(name, options); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"FROM a\nRUN <<E\nx\nE\n", "# escape=`\nFROM a AS b\nCOPY --from=b [\"x\", \"y\"]\n",
		"\ufeffFROM a\r\nONBUILD RUN x\n", "#check=error=true\nARG a=1\nFROM $a\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		started := processorTime(t)
		file, err := dockerfile.Parse("Dockerfile", text, dockerfile.Options{})
		if took := processorTime(t) - started; took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		if err == nil {
			if len(file.Stages) == 0 {
				t.Error("no stage")
			}
			return
		}
		e := new(dockerfile.Error)
		if !errors.As(err, &e) || e.Message == "" || strings.Contains(e.Error(), "\x1b") {
			t.Errorf("got %T %q", err, err)
		}
	})
}

// processorTime is how long this process has been computing: what a busy machine does not make longer.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func TestSeveralFilesAreOneAfterTheOther(t *testing.T) {
	parse := func(texts ...string) (*dockerfile.File, error) {
		var o dockerfile.Options
		for n, text := range texts[1:] {
			o.Then = append(o.Then, dockerfile.Text{Name: fmt.Sprint("file", n+2), Text: []byte(text)})
		}
		return dockerfile.Parse("file1", []byte(texts[0]), o)
	}
	f, err := parse("FROM a\nRUN b\n", "# escape=`\nRUN c `\n  d\n", "\nFROM e\nRUN <<X\nf\nX\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Stages) != 2 || len(f.Stages[0].Commands) != 2 || len(f.Stages[1].Commands) != 1 {
		t.Fatalf("%+v", f.Stages)
	}
	for _, tt := range []struct {
		at   dockerfile.Location
		text string
		got  dockerfile.Location
	}{
		{dockerfile.Location{File: "file1", StartLine: 2, EndLine: 2}, "RUN b",
			f.Location(f.Stages[0].Commands[0].Location())},
		{dockerfile.Location{File: "file2", StartLine: 2, EndLine: 3}, "RUN c `\n  d",
			f.Location(f.Stages[0].Commands[1].Location())},
		{dockerfile.Location{File: "file3", StartLine: 2, EndLine: 2}, "FROM e", f.Location(f.Stages[1].Location)},
		{dockerfile.Location{File: "file3", StartLine: 3, EndLine: 5}, "RUN <<X\nf\nX",
			f.Location(f.Stages[1].Commands[0].Location())},
	} {
		if tt.got != tt.at || f.Text(tt.got) != tt.text {
			t.Errorf("%+v %q, want %+v %q", tt.got, f.Text(tt.got), tt.at, tt.text)
		}
	}
	for want, texts := range map[string][]string{
		"file2:2: unknown instruction \"RUM\"":        {"FROM a\n", "RUN b\nRUM c\n"},
		"file2:1: unterminated heredoc":               {"FROM a\n", "RUN <<X\n"},
		"file2: the Dockerfile is empty":              {"FROM a\n", ""},
		"file3:1: ONBUILD FROM is not allowed":        {"FROM a\n", "RUN b\n", "ONBUILD FROM c\n"},
		"file1:1: RUN before the first FROM":          {"RUN a\n", "FROM b\n"},
		"file2:1: COPY requires at least two argumen": {"FROM a\n", "COPY b\n"},
	} {
		if _, err := parse(texts...); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

func TestLabelsOfMountsAreTaken(t *testing.T) {
	f, err := dockerfile.Parse("F",
		[]byte("FROM a\nRUN --mount=type=bind,Z,src=b,target=/b,relabel=shared --mount=type=cache,target=/c,z d\n"+
			"ONBUILD RUN --mount=type=tmpfs,z,target=/e f\n"), dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	run, ok := f.Stages[0].Commands[0].(*instructions.RunCommand)
	if !ok {
		t.Fatalf("%T", f.Stages[0].Commands[0])
	}
	for _, field := range []string{"Z", "z", "relabel"} {
		if slices.ContainsFunc(run.FlagsUsed, func(used string) bool { return used == field }) {
			t.Errorf("%q", run.FlagsUsed)
		}
	}
	if err := run.Expand(func(word string) (string, error) { return word, nil }); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range instructions.GetMounts(run) {
		got = append(got, string(m.Type)+" "+m.Source+" "+m.Target)
	}
	if want := []string{"bind b /b", "cache  /c"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if text := f.Text(f.Location(run.Location())); !strings.Contains(text, ",Z,") {
		t.Errorf("the line is shown as %q", text)
	}
}
