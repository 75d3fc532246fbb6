package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Arguments by which bench starts itself as another process.
const (
	// nopCommand does nothing: the least that starting a program of this size takes.
	nopCommand = "nop"
	// inputCommand makes an input; run by the user who is measured, so that the files are that user's.
	inputCommand = "input"
	// imageCommand makes an image for the server; in its own process, since a child's peak begins with that of its parent.
	imageCommand = "image"
	// fetchCommand writes what is at a URL to standard output.
	fetchCommand = "fetch"
	// touchCommand uses and frees memory; in its own process, since a child's peak begins with that of its parent.
	touchCommand = "touch"
)

// Inputs that makeInput knows.
const (
	inputTree = "tree"
	// inputLargeTree is ten times as many files.
	inputLargeTree = "trees"
	inputFile      = "file"
	// inputMixed is a file that gzip makes smaller as it does those of images.
	inputMixed = "mixed"
)

const (
	treeFiles      = 10_000
	largeTreeFiles = 100_000
	treeFileBytes  = 4 << 10
	treeDirFiles   = 100
	fileBytes      = 1 << 30
	mixedBytes     = 500_000_000
)

// makeInput writes one of the inputs below dir: pseudo-random bytes, the same each time, that don't compress.
func makeInput(kind, dir string) error {
	source := rand.NewChaCha8([32]byte{1})
	switch kind {
	case inputTree:
		return makeTree(filepath.Join(dir, kind), treeFiles, source)
	case inputLargeTree:
		return makeTree(filepath.Join(dir, kind), largeTreeFiles, source)
	case inputFile:
		return writeRandom(filepath.Join(dir, inputFile), source, fileBytes)
	case inputMixed:
		return writeMixed(filepath.Join(dir, inputMixed))
	default:
		return fmt.Errorf("make input: unknown kind %q", kind)
	}
}

// treeFile is the path of a file in a tree.
func treeFile(i int) string {
	return filepath.Join(fmt.Sprintf("dir-%03d", i/treeDirFiles), fmt.Sprintf("file-%05d", i))
}

// makeTree makes a tree of many small files.
func makeTree(dir string, files int, source *rand.ChaCha8) error {
	for i := range files {
		path := filepath.Join(dir, treeFile(i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make input tree: %w", err)
		}
		if err := writeRandom(path, source, treeFileBytes); err != nil {
			return err
		}
	}
	return nil
}

func writeMixed(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make input file: %w", err)
	}
	c, text := newContents(0), []byte(nil)
	for left := mixedBytes; left > 0 && err == nil; left -= len(text) {
		text = c.appendFile(text[:0], min(left, 1<<20))
		_, err = f.Write(text)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write input file: %w", err)
	}
	return nil
}

func writeRandom(path string, source io.Reader, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make input file: %w", err)
	}
	w := bufio.NewWriterSize(f, 256<<10)
	_, err = io.CopyN(w, source, size)
	if err := errors.Join(err, w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("write input file: %w", err)
	}
	return nil
}

// baseContainerfile makes localhost/busybox from one static program.
const baseContainerfile = `FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
`

const fromBase = "FROM localhost/busybox:latest"

// registryMark stands in a Containerfile for the address of the server.
const registryMark = "REGISTRY"

// pullAndRun is a Containerfile on an image of the server.
func pullAndRun(image string) string {
	return fmt.Sprintf("FROM %s/%s:latest\nRUN true\n", registryMark, image)
}

// manyRuns is a Containerfile of n steps that do nothing.
func manyRuns(n int) string {
	return fromBase + "\n" + strings.Repeat("RUN true\n", n)
}

// copyAndRun is a Containerfile that copies the input and runs one step on top of it.
func copyAndRun(input string) string {
	return fmt.Sprintf("%s\nCOPY %s /%s\nRUN true\n", fromBase, input, input)
}

// sleepers is a Containerfile of n independent stages that each sleep, and one that needs them all.
func sleepers(n, seconds int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s AS sleep-%d\nRUN sleep %d && echo %d >/done-%d\n", fromBase, i, seconds, i, i)
	}
	b.WriteString(fromBase + "\n")
	for i := range n {
		fmt.Fprintf(&b, "COPY --from=sleep-%d /done-%d /\n", i, i)
	}
	return b.String()
}

// touchedBytes is more than what any contender of a row that writes much fills with new pages, the page cache included.
const touchedBytes = 3 << 30

// touchMemory uses and frees memory, so that what is measured next gets pages that the machine already has: in a
// virtual machine the first use of a page is the host's work, ten times dearer than the copy into it, and falls on
// whoever comes first.
func touchMemory() error {
	m, err := unix.Mmap(-1, 0, touchedBytes, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("touch memory: %w", err)
	}
	return unix.Munmap(m)
}
