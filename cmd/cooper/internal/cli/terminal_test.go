package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAllTextGoesThroughOnePlace keeps other ways to standard output and standard error than Env.Out and Env.Errs out
// of the commands.
func TestAllTextGoesThroughOnePlace(t *testing.T) {
	known := strings.NewReplacer("terminal.Is(env.Stdout)", "", "show.New(mode, env.Stderr)", "",
		"show.New(show.ModeAuto, env.Stderr)", "", "show.New(b.mode, b.env.Stderr)", "",
		"out, errs := env.Stdout, env.Stderr", "",
		"fmt.Fprint(env.Stdout, clearScreen)", "", "terminal.Is(os.Stdout)", "", "Stdout: os.Stdout, Stderr: os.Stderr", "",
		// what other processes and outputs are given
		"Stdout: env.Stdout, Stderr: env.Stderr", "", "Stdout: env.Stdout, Stderr: stderr", "", "stderr = env.Stderr", "",
		"= env.Stdin, &answer, env.Stderr", "",
		"terminal.Is(e.Stdout)", "", "lines.Safe(e.Stdout)", "",
		"return e.Stdout", "", "lines.Safe(e.Stderr)", "",
		"view(env.Stdout, env.Stderr)", "", // a renderer
		"req.Stdout = env.Stdin, env.Stdout", "", "Stdout: env.Stdout, Progress: renderer", "")
	var files []string
	for _, dir := range []string{".", "../command", "../bakecmd", "../buildcmd", "../buildflags", "../diskcmd",
		"../engineload",
		"../imagecmd", "../imagenames", "../logincmd", "../manifestcmd", "../runcmd", "../stepflags",
		"../usernscmd"} {
		found, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(found) == 0 {
			t.Fatal(dir, found, err)
		}
		files = append(files, found...)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, way := range []string{"env.Stdout", "env.Stderr", "e.Stdout", "e.Stderr", "os.Stdout", "os.Stderr"} {
			if strings.Contains(known.Replace(string(text)), way) {
				t.Errorf("%s has %s: write to env.Out() or env.Errs()", name, way)
			}
		}
	}
}
