package imagetar_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/imagetar"
)

func TestAPipeThatNothingComesFromEndsWithItsContext(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	spool := func() (*os.File, error) { return os.CreateTemp(filepath.Dir(fifo), "") }
	enough := errors.New("enough")
	for name, read := range map[string]func(context.Context) (*imagetar.File, error){
		"a pipe with a writer": func(ctx context.Context) (*imagetar.File, error) {
			return imagetar.Read(ctx, "pipe", reader, spool)
		},
		"a named pipe without one": func(ctx context.Context) (*imagetar.File, error) {
			return imagetar.Open(ctx, fifo, spool)
		},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(10*time.Millisecond, func() { cancel(enough) })
		if _, err := read(ctx); !errors.Is(err, enough) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
