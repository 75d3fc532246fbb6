package tests_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// languageTable is the page that says which features of the Dockerfile language are built.
const languageTable = "docs/dockerfile.md"

// proofFile is where a proof named on the page is, below the module's root.
func proofFile(kind, name string) string {
	return map[string]string{
		"golden":      "build/plan/testdata/golden/" + name + ".Dockerfile",
		"errors":      "build/plan/testdata/errors/" + name + ".Dockerfile",
		"check":       "build/internal/inspect/testdata/check/" + name + ".Dockerfile",
		"describe":    "build/internal/inspect/testdata/describe/" + name + ".Dockerfile",
		"script":      "tests/testdata/script/" + name + ".txtar",
		"conformance": "tests/conformance/" + name + ".txtar",
		"real":        "tests/testdata/real/" + name + ".txtar",
	}[kind]
}

// TestEachRowOfTheLanguageTableHasItsProof keeps the page honest: a feature said to be built names a test of it that
// exists, and one that isn't says why.
func TestEachRowOfTheLanguageTableHasItsProof(t *testing.T) {
	t.Parallel()
	root := ".."
	text, err := os.ReadFile(filepath.Join(root, languageTable))
	if err != nil {
		t.Fatal(err)
	}
	proofs := proofChecker{root: root, tests: testNames(t, root)}
	rows := 0
	for n, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || cells[0] == "| Feature" {
			continue
		}
		rows++
		state, last := strings.TrimSpace(cells[1]), strings.TrimSuffix(cells[2], " |")
		for _, problem := range proofs.problems(state, last) {
			t.Errorf("%s:%d: %s", languageTable, n+1, problem)
		}
	}
	if rows < 100 {
		t.Errorf("%s has %d rows", languageTable, rows)
	}
}

func TestWrongRowsOfTheLanguageTableAreFound(t *testing.T) {
	t.Parallel()
	root := ".."
	proofs := proofChecker{root: root, tests: map[string]bool{"TestHere": true}}
	for _, row := range [][2]string{
		{"yes", "because"}, {"yes", "`golden/nowhere`"}, {"yes", "`TestThere`"}, {"yes", "`TestHere` `odd/base`"},
		{"perhaps", "`TestHere`"}, {"no", ""}, {"no", "`golden/base`"},
	} {
		if len(proofs.problems(row[0], row[1])) == 0 {
			t.Errorf("%q is accepted", row)
		}
	}
	for _, row := range [][2]string{{"yes", "`TestHere` `golden/base`"}, {"no", "it can't be; `errors/syntax`"}} {
		if problems := proofs.problems(row[0], row[1]); len(problems) > 0 {
			t.Errorf("%q: %v", row, problems)
		}
	}
}

type proofChecker struct {
	root  string
	tests map[string]bool
}

// problems is what is wrong with a row's state and last cell.
func (c proofChecker) problems(state, cell string) []string {
	var problems []string
	words := regexp.MustCompile("`[^`]*`").FindAllString(cell, -1)
	switch state {
	case "yes":
		if len(words) == 0 || strings.Trim(strings.Join(words, " "), " ") != strings.TrimSpace(cell) {
			problems = append(problems, "what is built must be shown by tests, and by nothing else")
		}
	case "no":
		if reason := regexp.MustCompile("`[^`]*`").ReplaceAllString(cell, ""); len(strings.Trim(reason, " ;:,.")) < 5 {
			problems = append(problems, "what isn't built must have a reason")
		}
	default:
		problems = append(problems, "neither yes nor no: "+state)
	}
	for _, word := range words {
		name := strings.Trim(word, "`")
		kind, file, isFile := strings.Cut(name, "/")
		if !isFile && c.tests[name] {
			continue
		}
		path := proofFile(kind, file)
		if _, err := os.Stat(filepath.Join(c.root, path)); !isFile || path == "" || errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, name+" doesn't exist")
		}
	}
	return problems
}

// testNames are the names of all tests of the module.
func testNames(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range declaration.FindAllSubmatch(text, -1) {
			names[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
