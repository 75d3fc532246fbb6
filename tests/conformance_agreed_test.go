package tests_test

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var allAgainstBuildah = flag.Bool("buildah", false,
	"hold every case of the conformance corpus against buildah, those of which nothing has changed since, too")

// agreements are the cases that were held against buildah: with this version of it, this list of differences and these
// golden parts. What cooper makes is held against the golden parts in every run, so that buildah, which takes five
// times as long, has nothing new to say of a case until one of the three changes.
type agreements struct {
	// about is what all cases depend on.
	about []byte
	mu    sync.Mutex
	// digests has the sum of each case by its name.
	digests map[string]string
}

// agreedFile has a line a case: its name, and the sum.
func agreedFile() string { return filepath.Join(corpusDir, "agreed.txt") }

// loadAgreements reads what was held against buildah.
func loadAgreements(t *testing.T) *agreements {
	t.Helper()
	version, err := exec.Command("buildah", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	listed, err := os.ReadFile(filepath.Join(corpusDir, "differences.txt"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(agreedFile())
	if err != nil {
		t.Fatal(err)
	}
	a := &agreements{about: append(version, listed...), digests: map[string]string{}}
	for line := range strings.Lines(string(text)) {
		if name, sum, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			a.digests[name] = sum
		}
	}
	return a
}

// sum is of all that the comparison of a case depends on.
func (a *agreements) sum(c *corpusCase) string {
	return fmt.Sprintf("%x", sha256.Sum256(slices.Concat(a.about, txtar.Format(c.archive))))
}

// has reports whether nothing of a case has changed since it was held against buildah.
func (a *agreements) has(c *corpusCase) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !*allAgainstBuildah && a.digests[c.name] == a.sum(c)
}

// add notes that a case was held against buildah.
func (a *agreements) add(c *corpusCase) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.digests[c.name] = a.sum(c)
}

// write replaces the file with what is known of these cases.
func (a *agreements) write(t *testing.T, cases []*corpusCase) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("# The cases that were held against buildah, with the sum of what that depends on: -update writes it, see README.md.\n")
	for _, c := range cases {
		if sum := a.sum(c); a.digests[c.name] == sum {
			fmt.Fprintf(&b, "%s %s\n", c.name, sum)
		}
	}
	if err := os.WriteFile(agreedFile(), b.Bytes(), 0o644); err != nil {
		t.Error(err)
	}
}
