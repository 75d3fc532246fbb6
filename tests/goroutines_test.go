package tests_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unguarded are the goroutines that need no guard, by file, for they do nothing but wait, read or hand on.
func unguarded() map[string]int {
	return map[string]int{
		"build/doctor/probe_linux.go":                       1, // reads a pipe
		"build/internal/solve/solve.go":                     1, // takes steps; each is guarded
		"build/internal/source/walk_linux.go":               1, // takes directories; each is guarded
		"cmd/cooper/internal/cli/cli.go":                    1, // waits for a signal
		"executor/overlay/program_linux.go":                 1, // waits for a process
		"executor/internal/streams/streams_linux.go":        1, // copies what a step writes; writers are guarded
		"executor/run_linux.go":                             1, // waits for a process
		"executor/internal/memfs/sockets_linux.go":          1, // accepts; what serves is guarded
		"imagebuilder/layer/stream.go":                      1, // takes chunks; each is guarded
		"network/internal/gateway/tcp.go":                   2, // hands on; each direction is guarded
		"userns/reexec/enter_linux.go":                      1, // hands signals on
		"userns/usertest/usertest.go":                       1, // likewise
		"tests/bench/limit.go":                              2, // not part of the program
		"tests/bench/serve.go":                              1, // likewise
		"build/internal/store/internal/library/onemount.go": 1, // hands panics to who calls
		"build/export/packer.go":                            1, // gives the context's cause
	}
}

// TestGoroutinesAreGuarded: a panic on a goroutine of its own ends the program, and nothing is given back. What is
// started on one is called by package guard.
func TestGoroutinesAreGuarded(t *testing.T) {
	t.Parallel()
	allowed := unguarded()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), "../")
		starts, err := goroutines(name, text)
		if err != nil {
			return err
		}
		if len(starts) != allowed[name] {
			t.Errorf("%s starts %d goroutines without package guard, not %d:\n%s", name, len(starts), allowed[name],
				strings.Join(starts, "\n"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// goroutines are the places in a file where a goroutine is started that calls nothing by package guard.
func goroutines(name string, text []byte) (starts []string, err error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "Go" {
				return true
			}
		default:
			return true
		}
		source := string(text[files.Position(n.Pos()).Offset:files.Position(n.End()).Offset])
		if !strings.Contains(source, "guard.") && !strings.Contains(source, "call(func() (err error)") {
			starts = append(starts, files.Position(n.Pos()).String())
		}
		return true
	})
	return starts, nil
}
