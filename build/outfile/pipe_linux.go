package outfile

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// firstLook and lookAgain are the times between two looks whether somebody reads a FIFO. No event tells of it: one
	// who waits for a writer counts as a reader before its open has ended.
	firstLook, lookAgain = 5 * time.Millisecond, 100 * time.Millisecond
)

// Pipe gives a writer to the pipe that a file is, by a descriptor of its own: settings of the file's are also those of
// the processes that share it. A write, which may have to wait until somebody reads, ends with the context's cause when
// the context does. It is nil if the file is no pipe, or one that can't be opened once more. name is for errors.
func Pipe(ctx context.Context, to *os.File, name string) *File {
	var st unix.Stat_t
	if err := unix.Fstat(int(to.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil
	}
	f := &File{path: name, direct: true}
	var err error
	if f.file, err = os.OpenFile(procPath(to), toPipe, 0); err != nil {
		return nil
	}
	f.interruptBy(ctx)
	return f
}

// toPipe are the flags for a pipe whose writers can be interrupted.
const toPipe = os.O_WRONLY | unix.O_NONBLOCK | unix.O_NOCTTY

// openFIFO opens a FIFO for writing as soon as somebody reads it.
func (f *File) openFIFO(ctx context.Context, path string) (err error) {
	for wait := firstLook; ; wait = min(2*wait, lookAgain) {
		if f.file, err = os.OpenFile(path, toPipe, 0); err == nil {
			f.interruptBy(ctx)
			return nil
		}
		if !errors.Is(err, unix.ENXIO) {
			return err
		}
		again := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			again.Stop()
			return context.Cause(ctx)
		case <-again.C:
		}
	}
}

// interruptBy has the end of a context end what waits for the reader of the file, which is a pipe.
func (f *File) interruptBy(ctx context.Context) {
	file := f.file
	f.interrupted = func() error { return context.Cause(ctx) }
	f.release = context.AfterFunc(ctx, func() {
		_ = file.SetWriteDeadline(time.Unix(1, 0)) // it fails if the file is closed
	})
}

// ofPipe puts a descriptor of the pipe that the file is, if it is one, in the place of that which others share.
func (f *File) ofPipe(ctx context.Context) {
	pipe := Pipe(ctx, f.file, f.path)
	if pipe == nil {
		return
	}
	_ = f.file.Close() // the other one is open
	f.file, f.interrupted, f.release = pipe.file, pipe.interrupted, pipe.release
}
