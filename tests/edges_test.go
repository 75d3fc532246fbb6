package tests_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An edge is something of the process that the packages of this module leave to a few of them.
type edge struct {
	name string
	// uses are the identifiers by which it is used, as in "os.Stdout".
	uses []string
	// within are the packages that may.
	within []string
	why    string
}

func edges() []edge {
	return []edge{
		{
			name: "the process's streams", uses: []string{
				"os.Stdin", "os.Stdout", "os.Stderr", "fmt.Print", "fmt.Printf", "fmt.Println", "log.Print", "log.Printf",
				"log.Println", "log.Fatal", "log.Fatalf", "syscall.Stdout", "syscall.Stderr",
			},
			within: []string{"userns/asroot", "userns/usertest"}, // of tests
			why:    "streams come with requests, for a process may have many",
		},
		{
			name: "who calls", uses: []string{
				"os.Getuid", "os.Geteuid", "os.Getgid", "os.Getegid", "unix.Getuid", "unix.Geteuid", "unix.Getgid",
				"unix.Getegid", "syscall.Getuid", "syscall.Geteuid", "user.Current",
			},
			within: []string{
				"userns", "userns/reexec", "userns/usertest", "internal/fsys", "build/internal/store",
				"build/registry/credentials",
			},
			why: "userns.ThisProcess says it, and internal/fsys whose files are made; the store and registry ask as their library does",
		},
		{
			name: "what containers/storage thinks of the caller", uses: []string{
				"unshare.IsRootless", "unshare.GetRootlessUID", "unshare.GetRootlessGID", "unshare.UsernsEnvName",
			},
			within: []string{"build/internal/store", "build/internal/store/pull", "build/internal/store/other",
				"build/registry/conf", "build/registry/credentials"},
			why: "what lies beside the library has to be where the library looks",
		},
	}
}

// TestEdgesOfTheProcessAreKeptToAFewPackages reads every package that isn't a program.
func TestEdgesOfTheProcessAreKeptToAFewPackages(t *testing.T) {
	t.Parallel()
	used := map[string][]string{}
	err := eachPackage("..", func(pkg string, files []*ast.File) {
		if files[0].Name.Name == "main" || strings.HasPrefix(pkg, "cmd/") {
			return
		}
		for _, name := range selectors(files) {
			used[name] = append(used[name], pkg)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edges() {
		needed := map[string]bool{}
		for _, name := range e.uses {
			for _, pkg := range used[name] {
				needed[pkg] = true
				if !slices.Contains(e.within, pkg) {
					t.Errorf("package %s uses %s: %s (%s)", pkg, name, e.why, e.name)
				}
			}
		}
		for _, pkg := range e.within {
			if !needed[pkg] {
				t.Errorf("package %s has no use of %s any more: take it out of edges", pkg, e.name)
			}
		}
	}
}

// selectors are the identifiers that some files take from packages, each once.
func selectors(files []*ast.File) []string {
	found := map[string]bool{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := s.X.(*ast.Ident); ok && pkg.Obj == nil {
					found[pkg.Name+"."+s.Sel.Name] = true
				}
			}
			return true
		})
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	return names
}

// isApart tells whether a directory holds no packages of this module: it is another module's, or no code.
func isApart(dir string) bool {
	name := filepath.Base(dir)
	if name == "testdata" || name == "bin" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := os.Lstat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// eachPackage parses the packages below a directory, without their tests.
func eachPackage(root string, do func(pkg string, files []*ast.File)) error {
	packages := map[string][]*ast.File{}
	set := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path != root && isApart(path) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(set, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		pkg, err := filepath.Rel(root, filepath.Dir(path))
		packages[filepath.ToSlash(pkg)] = append(packages[filepath.ToSlash(pkg)], f)
		return err
	})
	if err != nil {
		return err
	}
	for pkg, files := range packages {
		do(pkg, files)
	}
	return nil
}
