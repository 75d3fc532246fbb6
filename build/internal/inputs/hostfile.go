package inputs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
)

// readDockerfile reads the Dockerfile at a path of the machine.
func readDockerfile(ctx context.Context, path string) ([]byte, error) {
	f, err := openHostFile(ctx, path, hostFileHints{
		directory: "-f names the file, the last argument the context directory",
		pipe:      "-f - reads the Dockerfile from standard input",
	})
	if err != nil {
		return nil, fmt.Errorf("read Dockerfile: %w", err)
	}
	defer func() { _ = f.Close() }()
	return readText(f, path)
}

// readIgnore reads the ignore file at a path of the machine, which has to be there.
func readIgnore(ctx context.Context, path string) (*source.Ignore, error) {
	f, err := openHostFile(ctx, path, hostFileHints{
		directory: "--ignorefile names the file", pipe: "--ignorefile takes a file, or a pipe of the shell's as <(command)",
	})
	if err != nil {
		return nil, fmt.Errorf("read ignore file: %w", err)
	}
	defer func() { _ = f.Close() }()
	return source.ParseIgnore(path, f)
}

// hostFileHints say what to do about a path that leads to a directory or a named pipe.
type hostFileHints struct{ directory, pipe string }

// openHostFile opens a file that the user names. Reads end at the end of the file or when ctx ends.
func openHostFile(ctx context.Context, path string, hints hostFileHints) (io.ReadCloser, error) {
	// Without O_NONBLOCK, opening a named pipe would wait for a writer, and nothing could interrupt it.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = fmt.Errorf("%s is a directory\nhint: %s", path, hints.directory)
	case info.Mode().IsRegular():
		return f, nil
	case info.Mode()&os.ModeNamedPipe != 0 && !anonymous(f):
		err = fmt.Errorf("%s is a named pipe\nhint: %s", path, hints.pipe)
	default:
		return slowFile{interruptible(ctx, f), f}, nil
	}
	return nil, errors.Join(err, f.Close())
}

// slowFile is a pipe or device, whose reads may wait for data.
type slowFile struct {
	io.ReadCloser
	file *os.File
}

// Close ends the read that waits for the file, too.
func (s slowFile) Close() error { return errors.Join(s.ReadCloser.Close(), s.file.Close()) }

// anonymous tells whether a pipe is one without a name, as the shell makes for -f <(command). A named pipe may never
// get a writer.
func anonymous(pipe *os.File) bool {
	// File.Fd would make the file blocking, and its reads could not be interrupted any more.
	conn, err := pipe.SyscallConn()
	if err != nil {
		return false
	}
	var fs unix.Statfs_t
	err = conn.Control(func(fd uintptr) {
		if unix.Fstatfs(int(fd), &fs) != nil {
			fs.Type = 0
		}
	})
	return err == nil && fs.Type == unix.PIPEFS_MAGIC
}
