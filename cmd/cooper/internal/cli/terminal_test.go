package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAllTextGoesThroughOnePlace keeps other ways to standard output and standard error than Env.out and Env.errs out
// of this package.
func TestAllTextGoesThroughOnePlace(t *testing.T) {
	known := strings.NewReplacer("terminal.Is(env.Stdout)", "", "progress.New(mode, env.Stderr)", "",
		"fmt.Fprint(env.Stdout, clearScreen)", "", "terminal.Is(os.Stdout)", "", "Stdout: os.Stdout, Stderr: os.Stderr", "",
		// what other processes and outputs are given
		"Stdout: env.Stdout, Stderr: env.Stderr", "", "Stdout: env.Stdout, Stderr: stderr", "", "stderr = env.Stderr", "",
		"req.Stdout = env.Stdin, env.Stdout", "")
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, way := range []string{"env.Stdout", "env.Stderr", "os.Stdout", "os.Stderr"} {
			if strings.Contains(known.Replace(string(text)), way) {
				t.Errorf("%s has %s: write to env.out() or env.errs()", name, way)
			}
		}
	}
}
