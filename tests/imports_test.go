package tests_test

import (
	"errors"
	"flag"
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

var updateTable = flag.Bool("update-imports", false, "write the table of packages in docs/architecture.md anew")

func TestTheTableOfPackagesInTheDocumentsIsTheOneThatIsChecked(t *testing.T) {
	t.Parallel()
	const file, title = "../docs/architecture.md", "## Who imports whom\n\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), title)
	if !found {
		t.Fatalf("%s has no part %q", file, strings.TrimSpace(title))
	}
	after := ""
	if end := strings.Index(rest, "\n\n"); end >= 0 {
		after = rest[end+1:]
	}
	want := before + title + importTableText(importTable()) + after
	if want == string(text) {
		return
	}
	if !*updateTable {
		t.Fatalf("%s has another table of packages: run go test ./tests -run TestTheTableOfPackages -update-imports", file)
	}
	if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

// importTableText is the table as Markdown.
func importTableText(rules []importRule) string {
	var b strings.Builder
	b.WriteString("| package | job | imports of this module |\n|---|---|---|\n")
	for _, rule := range rules {
		job, imports := rule.job, "-"
		if rule.pure {
			job += " (pure)"
		}
		if paths := strings.Fields(rule.mayImport); len(paths) > 0 {
			imports = strings.Join(paths, ", ")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", rule.pkg, job, imports)
	}
	return b.String()
}

// TestTheBinaryIsFreeOfHeavyPackages names those whose initialisation every start of the program would pay for: grpc
// and what comes with it, what go.podman.io/image transfers images and checks signatures with, and the regular
// expressions of a grammar for names. Init times are shown by GODEBUG=inittrace=1.
func TestTheBinaryIsFreeOfHeavyPackages(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "list", "-buildvcs=false", "-tags="+buildTags, "-deps", "../cmd/cooper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list the packages of cooper: %v", err)
	}
	for _, heavy := range []string{
		"go.podman.io/image/v5/copy", "go.podman.io/image/v5/docker/policyconfiguration", "go.podman.io/image/v5/manifest",
		"go.podman.io/image/v5/pkg/blobinfocache", "go.podman.io/image/v5/pkg/shortnames", "go.podman.io/image/v5/signature",
		"go.podman.io/image/v5/storage", "go.podman.io/image/v5/transports", "github.com/docker/cli",
		"github.com/docker/docker",
		"google.golang.org/grpc", "google.golang.org/genproto", "github.com/distribution/reference",
		"github.com/docker/distribution",
		"github.com/sigstore", "github.com/ProtonMail/go-crypto", "github.com/containers/ocicrypt",
		"github.com/mattn/go-runewidth",
		"oras.land/oras-go", "github.com/google/go-containerregistry",
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
		"allowed": {map[string][]string{"a": {modulePath + "/b", "example.org/x/y", "os"}, "b": nil}, ""},
		"slack": {map[string][]string{"a": nil, "b": nil},
			`package a doesn't import b, which its row allows: take that out`},
		"against the flow": {map[string][]string{"a": {modulePath + "/b"}, "b": {modulePath + "/a"}},
			`package b imports a: its row allows nothing of this module`},
		"dependency kept to one": {map[string][]string{"a": {modulePath + "/b"}, "b": {"example.org/x"}},
			`package b imports example.org/x: only a may import example.org/x`},
		"similar prefix": {map[string][]string{"a": {modulePath + "/b"}, "b": {"example.org/xx"}}, ""},
		"pure": {map[string][]string{"a": {modulePath + "/b"}, "b": {"os/exec"}},
			`package b imports os/exec: it is marked pure and may not import os/exec`},
		"no row": {map[string][]string{"a": {modulePath + "/b"}, "b": nil, "c": nil},
			`package c has no row in importTable`},
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
	twice := checkImports(map[string][]string{"b": nil}, []importRule{{pkg: "b"}, {pkg: "b"}}, nil)
	if want := "importTable has two rows for b"; !slices.Equal(twice, []string{want}) {
		t.Errorf("got %q, want %q", twice, want)
	}
	got := checkImports(map[string][]string{"a": {modulePath + "/b"}, "b": nil}, rules, only)
	if want := "importTable has a row for gone, which is no package: remove it, or mark it planned"; !slices.Equal(got,
		[]string{want}) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// checkImports returns one sentence for each import, package or row that the tables don't allow, sorted by package.
func checkImports(found map[string][]string, rules []importRule, only []dependencyRule) []string {
	var problems []string
	rows := map[string]importRule{}
	for _, rule := range rules {
		if _, ok := rows[rule.pkg]; ok {
			problems = append(problems, fmt.Sprintf("importTable has two rows for %s", rule.pkg))
		}
		rows[rule.pkg] = rule
		if _, ok := found[rule.pkg]; !ok && !rule.planned {
			problems = append(problems,
				fmt.Sprintf("importTable has a row for %s, which is no package: remove it, or mark it planned", rule.pkg))
		}
	}
	for pkg, imports := range found {
		rule, ok := rows[pkg]
		if !ok {
			problems = append(problems, fmt.Sprintf("package %s has no row in importTable: add one that says what it may import",
				pkg))
			continue
		}
		for allowed := range strings.FieldsSeq(rule.mayImport) {
			if !slices.Contains(imports, modulePath+"/"+allowed) {
				problems = append(problems, fmt.Sprintf("package %s doesn't import %s, which its row allows: take that out", pkg,
					allowed))
			}
		}
		for _, path := range imports {
			if why := forbidden(rule, path, only); why != "" {
				problems = append(problems, fmt.Sprintf("package %s imports %s: %s", pkg, strings.TrimPrefix(path, modulePath+"/"),
					why))
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
			if path != root && isApart(path) {
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
