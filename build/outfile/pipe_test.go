package outfile

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

var errEnough = errors.New("enough")

// endless writes until there is an error, which is given.
func endless(f io.Writer) error {
	for {
		if _, err := f.Write(make([]byte, 64<<10)); err != nil {
			return err
		}
	}
}

func TestAFIFOThatNobodyReadsIsWaitedForUntilTheContextEnds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- WriteFile(ctx, path, []byte("x")) }()
	select {
	case err := <-ended:
		t.Fatalf("nobody reads, and it ends with %v", err)
	default:
		cancel(errEnough)
	}
	if err := <-ended; !errors.Is(err, errEnough) || err.Error() != "create "+path+": enough" {
		t.Errorf("it ends with %v", err)
	}
}

func TestAWriteThatWaitsForAReaderEndsWithTheContext(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	silent, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = read.Close(), write.Close() }()
	for name, open := range map[string]func(context.Context) (*File, error){
		"fifo":       func(ctx context.Context) (*File, error) { return Create(ctx, fifo) },
		"descriptor": func(ctx context.Context) (*File, error) { return Create(ctx, "/dev/fd/"+strconv.Itoa(int(write.Fd()))) },
		"pipe":       func(ctx context.Context) (*File, error) { return Pipe(ctx, write, "pipe"), nil },
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		f, err := open(ctx)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ended := make(chan error, 1)
		go func() { ended <- endless(f) }()
		cancel(errEnough)
		if err := <-ended; !errors.Is(err, errEnough) {
			t.Errorf("%s: it ends with %v", name, err)
		}
		f.Abort()
	}
	if flags, err := unix.FcntlInt(write.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("the descriptor that others share has the flags %x, %v", flags, err)
	}
}

func TestOnlyAPipeIsAPipe(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if got := Pipe(t.Context(), file, "file"); got != nil {
		t.Error("a file is one")
		got.Abort()
	}
}
