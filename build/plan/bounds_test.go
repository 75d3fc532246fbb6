package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"

	"github.com/cooperbuild/cooper/build/plan"
)

// lines makes n lines of a format that takes a number.
func lines(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestLargeFilesArePlanned(t *testing.T) {
	part := 1
	if testing.Short() {
		part = 5
	}
	nested := func(depth int) string { return strings.Repeat("${B:-", depth) + "x" + strings.Repeat("}", depth) }
	for name, text := range map[string]string{
		"variables":           "FROM scratch\n" + lines(20_000/part, "ENV e%d=x\n"),
		"variables on a line": "FROM scratch\nENV " + lines(20_000/part, "e%d=x \\\n") + "last=x\n",
		"labels":              "FROM scratch\n" + lines(20_000/part, "LABEL l%d=x\n"),
		"arguments":           "FROM scratch\n" + lines(20_000/part, "ARG a%d=x\n"),
		"global arguments":    lines(20_000/part, "ARG a%d=x\n") + "FROM scratch\n",
		"volumes":             "FROM scratch\n" + lines(20_000/part, "VOLUME /v%d\n"),
		"ports":               "FROM scratch\n" + lines(20_000/part, "EXPOSE %d\n"),
		"stages":              lines(10_000/part, "FROM scratch AS s%d\n"),
		"steps":               "FROM alpine\n" + lines(10_000/part, "RUN %d\n"),
		"steps and variables": "FROM alpine\n" + lines(2_000/part, "ENV e%d=x\n") + lines(2_000/part, "RUN %d\n"),
		"steps with secrets": "FROM alpine\n" + lines(1_000/part, "ARG a%d\n") +
			lines(1_000/part, "RUN --mount=type=secret,id=x,env=X %d\n"),
		"a heredoc":           "FROM scratch\nCOPY <<E /x\n" + lines(20_000/part, "'${B}\" $b %d\n") + "E\n",
		"nested defaults":     "FROM scratch\nENV V=" + nested(1_000) + "\n",
		"undefined variables": "FROM scratch\n" + lines(5_000/part, "ENV v%d=$nowhere\n"),
	} {
		t.Run(name, func(t *testing.T) {
			g := planText(t, text, options())
			if g.Target.Last == nil {
				t.Error("no step")
			}
		})
	}
}

func TestStepsKeepTheirConfig(t *testing.T) {
	g := planText(t, "FROM alpine AS a\nENV A=1\nENV B=1\nRUN 1\nENV A=2\nLABEL l=1\nRUN 2\nFROM a\nENV A=3\nFROM a\nENV C=1\nRUN 3\n", options())
	want := map[string]string{"RUN 1": "A=1 B=1", "RUN 2": "A=2 B=1", "RUN 3": "A=2 B=1 C=1"}
	for _, s := range g.Steps {
		if got := strings.Join(s.Image.Config.Env[1:], " "); want[s.Text] != "" && got != want[s.Text] {
			t.Errorf("%s: %s, not %s", s.Text, got, want[s.Text])
		}
	}
}

func TestWorkAndMemoryAreBounded(t *testing.T) {
	value := "ENV B=" + strings.Repeat("a", 60_000) + "\n"
	nested := strings.Repeat("${B:-", 8_000) + "x" + strings.Repeat("}", 8_000)
	const work, size = "take too much work", "the image configs and their history are larger than 32 MiB"
	slow := []string{"nested defaults, repeated", "patterns", "replacements, dropped", "steps between variables",
		"variables", "sources"}
	for name, tt := range map[string]struct{ text, want string }{
		"nested defaults": {"FROM scratch\nENV V=" + nested + "\n", work},
		"quotes hide no nesting": {"FROM scratch\nENV V=" + strings.Repeat(`${B:-"}"`, 7_000) +
			strings.Repeat("}", 7_000) + "\n", work},
		"nested defaults in FROM": {"FROM " + nested + "\n", work},
		"nested defaults in COPY": {"FROM scratch\nCOPY " + nested + " /\n", work},
		"nested defaults, repeated": {"FROM scratch\n" + strings.Repeat("ENV V="+strings.Repeat("${B:-", 1_000)+"x"+
			strings.Repeat("}", 1_000)+"\n", 80), work},
		"nested with a long value": {"FROM scratch\n" + value + "ENV V=" + strings.Repeat("${C:-", 5_000) + "$B$B$B$B$B" +
			strings.Repeat("}", 5_000) + "\n", work},
		"patterns": {"FROM scratch\n" + value + strings.Repeat("ENV V=${B#"+strings.Repeat("*a", 200)+"b}\n",
			100), work},
		"patterns in quotes": {"FROM scratch\n" + value + strings.Repeat(`ENV V=${B#"}"`+strings.Repeat("*a", 200)+
			"b}\n", 100), work},
		"replacements, dropped": {"FROM scratch\nENV B=" + strings.Repeat("a", 5_000) + "\n" +
			strings.Repeat("ENV V=${C:+${B//a/$B}}\n", 50), work},
		"global arguments": {"ARG A=" + strings.Repeat("x", 60_000) + "\n" +
			lines(40, "ARG B%d=$A$A$A$A$A$A$A$A$A$A\n") + "FROM scratch\n", size},
		"variables": {"FROM scratch\n" + value + lines(200, "ENV V%d=$B$B$B$B$B\n"), size},
		"sources":   {"FROM scratch\n" + value + "COPY " + strings.Repeat("$B ", 1_000) + "/\n", size},
		"directories": {"FROM scratch\n" + strings.Repeat("WORKDIR "+strings.Repeat("a", 2_000)+"\n", 300),
			size},
		"ports again and again":   {"FROM alpine\n" + strings.Repeat("EXPOSE 1-65535\n", 100), size},
		"steps between variables": {"FROM alpine\n" + lines(4_000, "ENV e%[1]d=x\nRUN %[1]d\n"), size},
		"stages with variables": {"FROM scratch AS s\n" + lines(3_000, "ENV e%d=x\n") + lines(3_000, "FROM s AS s%d\n"),
			size},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && slices.Contains(slow, name) {
				t.Skip("takes the better part of a second")
			}
			f, err := dockerfile.Parse("Dockerfile", []byte(tt.text), dockerfile.Options{})
			if err == nil {
				_, err = plan.Check(t.Context(), f, options())
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !isPlaced(err) {
				t.Errorf("got %.300v", err)
			}
		})
	}
}
