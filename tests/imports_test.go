package tests_test

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/cooperbuild/cooper"

// An importRule names what one package may import of this module. Imports flow one way: commands at the top, user
// namespaces at the bottom. A package without a row fails the test, and so does a row without a package, unless planned.
type importRule struct {
	pkg string
	// mayImport is a list of package paths below the module, separated by spaces.
	mayImport string
	// pure packages work on values: they open no file, start no process and make no system call.
	pure    bool
	planned bool
}

func importTable() []importRule {
	return []importRule{
		{pkg: "cmd/cooper", mayImport: "cmd/cooper/internal/cli build userns/reexec"},
		{pkg: "cmd/cooper/internal/cli", mayImport: "build build/disk build/doctor build/export build/progress build/top userns userns/reexec"},

		{pkg: "build", mayImport: "build/plan build/solve build/cache build/disk build/source build/fetch build/fileop build/registry build/store build/export " +
			"build/sshagent build/progress build/top imagebuilder imagebuilder/dockerfile imagebuilder/layer imagebuilder/reference " +
			"imagebuilder/remote executor executor/spec executor/overlay userns userns/accounts userns/reexec"},
		{pkg: "build/doctor", mayImport: "build/registry build/store executor executor/overlay userns userns/reexec"},
		{pkg: "build/plan", mayImport: "imagebuilder imagebuilder/dockerfile imagebuilder/reference imagebuilder/remote", pure: true},
		{pkg: "build/solve", mayImport: "build/plan"},
		{pkg: "build/cache", mayImport: "build/plan build/disk imagebuilder/layer"},
		{pkg: "build/disk", mayImport: "imagebuilder/layer", pure: true},
		{pkg: "build/source", mayImport: "imagebuilder/dockerfile internal/fsys"},
		{pkg: "build/fetch", mayImport: "build/disk build/patience imagebuilder/layer imagebuilder/remote internal/flock internal/fsys"},
		{pkg: "build/fileop", mayImport: "build/source imagebuilder/layer userns/accounts internal/fsys"},
		{pkg: "build/store", mayImport: "build/disk build/registry imagebuilder imagebuilder/layer imagebuilder/reference userns internal/fsys"},
		{pkg: "build/patience", pure: true},
		{pkg: "build/registry", mayImport: "build/patience imagebuilder/reference"},
		{pkg: "build/export", mayImport: "imagebuilder imagebuilder/layer imagebuilder/reference"},
		{pkg: "build/progress"},
		{pkg: "build/sshagent"},
		{pkg: "build/top", mayImport: "userns internal/flock internal/fsys"},

		{pkg: "imagebuilder", mayImport: "imagebuilder/dockerfile", pure: true},
		{pkg: "imagebuilder/dockerfile", mayImport: "imagebuilder/remote", pure: true},
		{pkg: "imagebuilder/layer", mayImport: "userns internal/fsys"},
		{pkg: "imagebuilder/reference", pure: true},
		{pkg: "imagebuilder/remote", pure: true},

		{pkg: "executor", mayImport: "executor/spec executor/overlay executor/internal/rawproc userns userns/accounts internal/fsys"},
		{pkg: "executor/overlay", mayImport: "executor/internal/rawproc userns userns/reexec internal/fsys"},
		{pkg: "executor/internal/rawproc"},
		{pkg: "executor/spec", mayImport: "userns", pure: true},

		{pkg: "internal/fsys"},
		{pkg: "internal/flock", mayImport: "internal/fsys"},

		{pkg: "userns"},
		{pkg: "userns/accounts", mayImport: "internal/fsys"},
		{pkg: "userns/reexec", mayImport: "userns"},
		{pkg: "userns/asroot"},
		{pkg: "userns/usertest", mayImport: "userns userns/asroot userns/reexec"},

		{pkg: "tests/bench"},
		{pkg: "contrib/examples/hello"},
	}
}

// A dependencyRule keeps a module of others, or a part of it, to the packages that were made to deal with it.
type dependencyRule struct {
	// path is an import path; everything below it counts too.
	path string
	// only is a list of package paths below this module, separated by spaces.
	only string
}

func dependencyTable() []dependencyRule {
	return []dependencyRule{
		{path: "go.podman.io", only: "build/store build/registry"},
		{path: "github.com/moby/buildkit", only: "imagebuilder/dockerfile imagebuilder build/plan"},
		{path: "github.com/moby/patternmatcher", only: "build/source"},
		{path: "github.com/vbatts/tar-split", only: "imagebuilder/layer build/store"},
		{path: "github.com/opencontainers/runtime-spec", only: "executor/spec"},
		{path: "github.com/spf13/cobra", only: "cmd/cooper cmd/cooper/internal/cli"},
	}
}

// effects are the imports by which a package would stop being pure.
func effects() []string {
	return []string{"os", "os/exec", "net/http", "syscall", "golang.org/x/sys"}
}

func TestImportsFollowTheTable(t *testing.T) {
	t.Parallel()
	found, err := packageImports("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range checkImports(found, importTable(), dependencyTable()) {
		t.Error(problem)
	}
}

// TestTheBinaryIsFreeOfHeavyPackages names those whose initialisation every start of the program would pay for: grpc and
// what comes with it, and the regular expressions of a grammar for names. Init times are shown by GODEBUG=inittrace=1.
func TestTheBinaryIsFreeOfHeavyPackages(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "list", "-buildvcs=false", "-tags="+buildTags, "-deps", "../cmd/cooper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list the packages of cooper: %v", err)
	}
	for _, heavy := range []string{
		"go.podman.io/image", "google.golang.org/grpc", "google.golang.org/genproto", "github.com/distribution/reference", "github.com/docker/distribution",
		"github.com/sigstore", "github.com/ProtonMail/go-crypto", "github.com/containers/ocicrypt", "github.com/mattn/go-runewidth",
		"oras.land/oras-go", "go.yaml.in/yaml", "github.com/google/go-containerregistry",
	} {
		for pkg := range strings.FieldsSeq(string(out)) {
			if isBelow(pkg, heavy) {
				t.Errorf("cooper links %s, which is slow to start", pkg)
			}
		}
	}
}

func TestImportCheckNamesPackageImportAndRule(t *testing.T) {
	t.Parallel()
	rules := []importRule{{pkg: "a", mayImport: "b"}, {pkg: "b", pure: true}, {pkg: "gone"}, {pkg: "later", planned: true}}
	only := []dependencyRule{{path: "example.org/x", only: "a"}}
	for name, test := range map[string]struct {
		found map[string][]string
		want  string
	}{
		"allowed":                {map[string][]string{"a": {modulePath + "/b", "example.org/x/y", "os"}, "b": nil}, ""},
		"against the flow":       {map[string][]string{"a": nil, "b": {modulePath + "/a"}}, `package b imports a: its row allows nothing of this module`},
		"dependency kept to one": {map[string][]string{"a": nil, "b": {"example.org/x"}}, `package b imports example.org/x: only a may import example.org/x`},
		"similar prefix":         {map[string][]string{"a": nil, "b": {"example.org/xx"}}, ""},
		"pure":                   {map[string][]string{"a": nil, "b": {"os/exec"}}, `package b imports os/exec: it is marked pure and may not import os/exec`},
		"no row":                 {map[string][]string{"a": nil, "b": nil, "c": nil}, `package c has no row in importTable`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.found["gone"] = nil
			got := strings.Join(checkImports(test.found, rules, only), "\n")
			if (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	got := checkImports(map[string][]string{"a": nil, "b": nil}, rules, only)
	if want := "importTable has a row for gone, which is no package: remove it, or mark it planned"; !slices.Equal(got, []string{want}) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// checkImports returns one sentence for each import, package or row that the tables don't allow, sorted by package.
func checkImports(found map[string][]string, rules []importRule, only []dependencyRule) []string {
	var problems []string
	rows := map[string]importRule{}
	for _, rule := range rules {
		rows[rule.pkg] = rule
		if _, ok := found[rule.pkg]; !ok && !rule.planned {
			problems = append(problems, fmt.Sprintf("importTable has a row for %s, which is no package: remove it, or mark it planned", rule.pkg))
		}
	}
	for pkg, imports := range found {
		rule, ok := rows[pkg]
		if !ok {
			problems = append(problems, fmt.Sprintf("package %s has no row in importTable: add one that says what it may import", pkg))
			continue
		}
		for _, path := range imports {
			if why := forbidden(rule, path, only); why != "" {
				problems = append(problems, fmt.Sprintf("package %s imports %s: %s", pkg, strings.TrimPrefix(path, modulePath+"/"), why))
			}
		}
	}
	slices.Sort(problems)
	return problems
}

// forbidden says which rule keeps rule.pkg from importing path, or returns "".
func forbidden(rule importRule, path string, only []dependencyRule) string {
	if ours, ok := strings.CutPrefix(path, modulePath+"/"); ok {
		allowed := strings.Fields(rule.mayImport)
		switch {
		case slices.Contains(allowed, ours):
			return ""
		case len(allowed) == 0:
			return "its row allows nothing of this module"
		default:
			return "its row allows only " + strings.Join(allowed, ", ")
		}
	}
	for _, dependency := range only {
		if isBelow(path, dependency.path) && !slices.Contains(strings.Fields(dependency.only), rule.pkg) {
			return fmt.Sprintf("only %s may import %s", strings.Join(strings.Fields(dependency.only), ", "), dependency.path)
		}
	}
	if rule.pure {
		for _, effect := range effects() {
			if path == effect || strings.Contains(effect, ".") && isBelow(path, effect) {
				return "it is marked pure and may not import " + effect
			}
		}
	}
	return ""
}

func isBelow(path, parent string) bool {
	return path == parent || strings.HasPrefix(path, parent+"/")
}

// packageImports reads the import clauses of all Go files below root that are not tests, whatever their build tags, and
// returns them by package directory.
func packageImports(root string) (map[string][]string, error) {
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != root && (name == "testdata" || name == "bin" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		imports, err := fileImports(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return fmt.Errorf("name package of %s: %w", path, err)
		}
		seen := found[dir] // stays nil for a package without imports, which must have its row as well
		for _, imported := range imports {
			if !slices.Contains(seen, imported) {
				seen = append(seen, imported)
			}
		}
		found[dir] = seen
		return nil
	})
	if err == nil && len(found) == 0 {
		err = errors.New("find packages: no Go file below " + root)
	}
	return found, err
}

func fileImports(path string) ([]string, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read source: %w", err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.ImportsOnly)
	if err != nil {
		return nil, fmt.Errorf("parse imports: %w", err)
	}
	var imports []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("unquote import in %s: %w", path, err)
		}
		imports = append(imports, imported)
	}
	return imports, nil
}
