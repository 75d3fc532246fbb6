package outfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// File is a file that appears under its name when it is whole, or never. It is not safe for concurrent use.
type File struct {
	// path is the name as the caller gave it, spot where it leads.
	path string
	spot *spot
	// direct says that what is there is no file, and is written to.
	direct bool
	// temp is the name for now; empty if there is none.
	temp string
	file *os.File
	done bool
	// interrupted is why a write to a pipe was ended, and release has nothing end one any more; nil: it is no pipe.
	interrupted func() error
	release     func() bool
}

var _ io.Writer = (*File)(nil)

// Create starts a file that is to be at path. A file that is there already keeps its permissions, and its owner if the
// caller may give files away; a new one gets 0666 less the umask. A symbolic link stays, what it leads to is replaced.
// What isn't a regular file, and what /dev/stdout or /dev/fd/N is, can't be replaced and is written to directly. The
// caller calls Commit or Abort. With a FIFO it waits for a reader, until ctx ends, which also ends a Write that waits.
func Create(ctx context.Context, path string) (*File, error) {
	s, err := find(path, false)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, cause(err))
	}
	f := &File{path: path, spot: s}
	if err := f.open(ctx); err != nil {
		f.Abort()
		return nil, fmt.Errorf("create %s: %w", path, cause(err))
	}
	return f, nil
}

func (f *File) open(ctx context.Context) error {
	s := f.spot
	if strings.HasSuffix(f.path, "/") || strings.HasSuffix(f.path, "/.") {
		return syscall.EISDIR
	}
	if s.at == nil {
		return f.openTemp(0o666)
	}
	var where unix.Statfs_t
	switch {
	case s.kind() == unix.S_IFDIR:
		return syscall.EISDIR
	case unix.Fstatfs(int(s.dir.Fd()), &where) == nil && where.Type == unix.PROC_SUPER_MAGIC:
		return f.openDirect(ctx, ownDescriptor(s))
	case s.kind() != unix.S_IFREG:
		return f.openDirect(ctx, -1)
	}
	// Nobody reads what a file that is for its owner only is going to hold.
	if err := f.openTemp(s.st.Mode & 0o666); err != nil {
		return err
	}
	f.keepOwner()
	return f.file.Chmod(fs.FileMode(s.st.Mode & 0o777))
}

// keepOwner gives the new file the old one's owner and group. Most users can't; then it is theirs.
func (f *File) keepOwner() {
	var st unix.Stat_t
	if unix.Fstat(int(f.file.Fd()), &st) != nil || f.spot.st.Uid == overflowID || f.spot.st.Gid == overflowID {
		return
	}
	if st.Uid != f.spot.st.Uid || st.Gid != f.spot.st.Gid {
		_ = unix.Fchown(int(f.file.Fd()), int(f.spot.st.Uid), int(f.spot.st.Gid))
	}
}

func (f *File) openTemp(mode uint32) (err error) {
	sweep(f.spot.dir)
	if f.file, err = openUnnamed(f.spot.dir); f.file != nil || err != nil {
		return err
	}
	f.file, f.temp, err = openNamed(f.spot.dir, mode)
	return err
}

// openDirect opens what is there for writing: fd is this process's own descriptor of it, -1 if it has none.
func (f *File) openDirect(ctx context.Context, fd int) (err error) {
	f.direct = true
	if fd >= 0 {
		// A descriptor of one's own has a place in its file, which others who write to it share.
		if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			f.file = os.NewFile(uintptr(fd), f.path)
			f.ofPipe(ctx)
		}
		return err
	}
	if f.spot.kind() == unix.S_IFIFO {
		return f.openFIFO(ctx, procPath(f.spot.at))
	}
	f.file, err = os.OpenFile(procPath(f.spot.at), os.O_WRONLY|os.O_APPEND|unix.O_NOCTTY, 0)
	return err
}

// ownDescriptor is N if a spot is /proc/self/fd/N; else -1.
func ownDescriptor(s *spot) int {
	var dir, own unix.Stat_t
	fd, err := strconv.Atoi(s.base)
	if err != nil || unix.Fstat(int(s.dir.Fd()), &dir) != nil || unix.Stat("/proc/self/fd", &own) != nil ||
		dir.Ino != own.Ino || dir.Dev != own.Dev {
		return -1
	}
	return fd
}

// Write adds to the file.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) && f.interrupted != nil {
		err = f.interrupted()
	}
	if err != nil {
		return n, fmt.Errorf("write %s: %w", f.path, cause(err))
	}
	return n, nil
}

// Unnamed makes an empty file beside this one that never has a name that lasts.
func (f *File) Unnamed() (*os.File, error) { return Unnamed(procPath(f.spot.dir)) }

// Direct says that the file can't be replaced and is written to directly. It may lie on no file system.
func (f *File) Direct() bool { return f.direct }

// Commit makes the file durable and gives it its name. After an error there is nothing, as after Abort.
func (f *File) Commit() error {
	if f.done {
		return fmt.Errorf("commit %s: %w", f.path, fs.ErrClosed)
	}
	defer f.Abort()
	if f.direct {
		if err := f.file.Close(); err != nil {
			return fmt.Errorf("close %s: %w", f.path, cause(err))
		}
		return nil
	}
	if err := syncFile(f.file); err != nil {
		return fmt.Errorf("sync %s: %w", f.path, cause(err))
	}
	if err := f.name(); err != nil {
		return fmt.Errorf("create %s: %w", f.path, err)
	}
	f.temp = ""
	syncDir(f.spot.dir)
	if err := f.file.Close(); err != nil {
		return fmt.Errorf("close %s: %w", f.path, cause(err))
	}
	return nil
}

// name gives the file its name. It stays open, and with that locked, for as long as it has a temporary one.
func (f *File) name() error {
	dir := int(f.spot.dir.Fd())
	if f.temp == "" {
		link := func(name string) error {
			return unix.Linkat(unix.AT_FDCWD, procPath(f.file), dir, name, unix.AT_SYMLINK_FOLLOW)
		}
		// A new name needs no other before. No call puts a file without a name in the place of one that is there.
		if f.spot.at == nil {
			if err := link(f.spot.base); !errors.Is(err, unix.EEXIST) {
				return err
			}
		}
		lock(f.file)
		temp := tempName()
		if err := link(temp); err != nil {
			return err
		}
		f.temp = temp
	}
	return unix.Renameat(dir, f.temp, dir, f.spot.base)
}

// Abort removes the file. After Commit it does nothing, so that it can be deferred.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	// Errors don't matter: the content is unwanted, and the reason for that is the error the user sees.
	if f.temp != "" {
		_ = unix.Unlinkat(int(f.spot.dir.Fd()), f.temp, 0)
	}
	if f.file != nil {
		_ = f.file.Close()
	}
	if f.release != nil {
		f.release()
	}
	if f.spot != nil {
		f.spot.close()
	}
}

// WriteFile is Create, one write of data, and Commit.
func WriteFile(ctx context.Context, path string, data []byte) error {
	f, err := Create(ctx, path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}
