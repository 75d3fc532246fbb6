package export

import (
	"bytes"
	"os"
	"testing"

	"github.com/cooperbuild/cooper/build/outfile"
)

func TestWhatNobodyReadsAnyMoreGoesToStandardOutputItself(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = write.Close() }()
	pipe := outfile.Pipe(t.Context(), write, "standard output")
	if pipe == nil {
		t.Fatal("a pipe is none")
	}
	defer pipe.Abort()
	var itself bytes.Buffer
	w := pipeWriter{pipe, &itself}
	if _, err := w.Write([]byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("two")); err != nil || itself.String() != "two" {
		t.Errorf("it has %q, %v", itself.String(), err)
	}
}
