package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheReferenceIsThatOfTheCommands(t *testing.T) {
	const committed = "../../../../docs/reference"
	fresh := t.TempDir()
	if err := writeReference(fresh); err != nil {
		t.Fatal(err)
	}
	names := func(dir string) (all []string) {
		paths, err := filepath.Glob(filepath.Join(dir, "*.md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			all = append(all, filepath.Base(path))
		}
		return all
	}
	const remedy = "run make reference"
	if got, want := names(committed), names(fresh); !slices.Equal(got, want) {
		t.Fatalf("%s has %v, want %v: %s", committed, got, want, remedy)
	}
	for _, name := range names(fresh) {
		want, err := os.ReadFile(filepath.Join(fresh, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(committed, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the command says of itself: %s", name, remedy)
		}
	}
}

func TestEachCommandHasAManPage(t *testing.T) {
	dir := t.TempDir()
	if err := writeMan(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cooper.1", "cooper-build.1", "cooper-check.1", "cooper-doctor.1",
		"cooper-userns-show.1", "cooper.toml.5"} {
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page[:min(len(page), 40)]), ".nh\n.TH") {
			t.Errorf("%s begins with %.40q", name, page)
		}
	}
}

func TestThePagesOfTablesAreThoseOfTheCode(t *testing.T) {
	for page, write := range map[string]func(string) error{
		"flags.md": writeFlags, "configuration.md": writeConfiguration,
	} {
		fresh := filepath.Join(t.TempDir(), page)
		if err := write(fresh); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(fresh)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile("../../../../docs/" + page); err != nil || !bytes.Equal(got, want) {
			t.Errorf("docs/%s is not what the table says (%v): run make reference", page, err)
		}
	}
}
