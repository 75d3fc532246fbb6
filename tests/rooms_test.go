package tests_test

import (
	"go/ast"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a package and a type may hold, so that one person can know it whole.
const (
	// buildLines is for package build, which wires rooms and holds nothing else.
	buildLines = 1000
	// mostLines and mostFiles are for other packages, unless the doc comment says why it is one room.
	mostLines, mostFiles = 2000, 15
	mostMethods          = 25
	// oneRoom begins the paragraph of a doc comment that says why a package with more stays whole.
	oneRoom = "One room: "
)

// TestRoomsAreSmall counts the code of each package, without tests, and the methods of each type.
func TestRoomsAreSmall(t *testing.T) {
	t.Parallel()
	err := eachPackage("..", func(pkg string, files []*ast.File) {
		for name, n := range methods(files) {
			if n > mostMethods {
				t.Errorf("%s.%s has %d methods, more than %d: part it", pkg, name, n, mostMethods)
			}
		}
		lines := linesOf(t, pkg)
		if pkg == "build" {
			if lines > buildLines {
				t.Errorf("package build has %d lines, more than %d: it wires rooms, what does work is one", lines, buildLines)
			}
			return
		}
		if (lines > mostLines || len(files) > mostFiles) && !strings.Contains(doc(files), oneRoom) {
			t.Errorf("package %s has %d lines in %d files: part it, or say in its doc comment why it is one room (%q)",
				pkg, lines, len(files), oneRoom+"...")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// methods counts those of each type.
func methods(files []*ast.File) map[string]int {
	count := map[string]int{}
	for _, f := range files {
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv == nil {
				continue
			}
			of := fn.Recv.List[0].Type
			if p, ok := of.(*ast.StarExpr); ok {
				of = p.X
			}
			if generic, ok := of.(*ast.IndexExpr); ok {
				of = generic.X
			}
			if name, ok := of.(*ast.Ident); ok {
				count[name.Name]++
			}
		}
	}
	return count
}

// doc is a package's comment, as one line.
func doc(files []*ast.File) string {
	var all []string
	for _, f := range files {
		all = append(all, strings.Fields(f.Doc.Text())...)
	}
	return strings.Join(all, " ") + " "
}

func linesOf(t *testing.T, pkg string) (n int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("..", pkg, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		n += strings.Count(string(text), "\n")
	}
	return n
}
