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

// openHostFile opens a file that the user names, to be read until its end or until the context's.
func openHostFile(ctx context.Context, path string, hints hostFileHints) (io.ReadCloser, error) {
	// To open a named pipe would otherwise wait for a writer, and nothing could interrupt it.
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

// slowFile is a pipe or device that may have nothing to give.
type slowFile struct {
	io.ReadCloser
	file *os.File
}

// Close ends the read that waits for the file, too.
func (s slowFile) Close() error { return errors.Join(s.ReadCloser.Close(), s.file.Close()) }

// anonymous tells a pipe of the shell's, as in -f <(command), from one that has a name and perhaps no writer ever.
func anonymous(pipe *os.File) bool {
	// File.Fd would have reads block for good.
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
