package fileop

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
)

// Errors that callers may tell apart with errors.Is. Errors of Copy wrap them.
var (
	// ErrNotDirectory means that a directory is needed and the name is another kind of file.
	ErrNotDirectory error = unix.ENOTDIR
	// ErrIsDirectory means that a file would have to replace a directory.
	ErrIsDirectory error = unix.EISDIR
	// ErrNeedsDirectory means that several sources have a destination that is neither a directory nor ends in "/".
	ErrNeedsDirectory = errors.New("with more than one source the destination must be a directory and end with a /")
	// ErrWhiteout means that a source would be a deletion in a layer.
	ErrWhiteout = errors.New("reserved for deletions in a layer")
	// ErrChanged means that a source was replaced by something of another kind while it was copied.
	ErrChanged = errors.New("it changed while it was copied")
	// ErrUnsafeArchive means that an archive names something outside its destination.
	ErrUnsafeArchive = errors.New("unsafe archive")
	// ErrNoSuchUser means that a user or group name is in neither /etc/passwd nor /etc/group.
	ErrNoSuchUser = errors.New("no such user or group")
)

// NoMatchError says that a source doesn't exist, and which existing names look like it.
type NoMatchError = source.NoMatchError

// Filter hides files of a context.
type Filter = source.Filter

// An Owner is a user and a group, container IDs.
type Owner struct{ UID, GID uint32 }

// An InlineFile is a heredoc: a file that the Dockerfile itself holds.
type InlineFile struct {
	// Path is the name the file gets in a destination directory; only its last component counts.
	Path string
	// Mode is the permission bits; 0 means 0644.
	Mode uint32
	Data []byte
}

// CopyOptions says what Copy copies, and where to. Layer and Dest must be set, and Source if there are Sources. The
// caller closes all files.
type CopyOptions struct {
	// Source is the directory that sources are looked for in: a context, or the root of a stage or image.
	Source *os.File
	// Sources are paths and patterns (filepath.Match a component) below Source, as written in the Dockerfile.
	Sources []string
	// Excludes and Parents are --exclude and --parents, as in source.Query.
	Excludes []string
	Parents  bool
	// Files are copied after Sources.
	Files []InlineFile
	// Others counts the sources of the same instruction that other calls copy to the same Dest.
	Others int
	// Ignore hides files of Source; nil hides none.
	Ignore Filter
	// KeepOwner gives copies the owner that the source has on disk, as is right for a stage or an image. Otherwise they
	// belong to 0:0.
	KeepOwner bool
	// UnpackArchives makes Copy unpack a source that is a tar archive, plain or compressed with gzip, bzip2, xz or zstd.
	UnpackArchives bool
	// Chown is the owner of all files that are written; nil: see KeepOwner.
	Chown *Owner
	// Chmod is "0755" or "u+x,go-w"; empty keeps each source's mode.
	Chmod string
	// View is the root of the parent step's file system, merged and read-only; nil for a build from scratch, and for a
	// copy that must not depend on the parent (--link).
	View *os.File
	// Shared says of what layers Source and View are, so that files can be shared instead of copied. The zero value shares
	// nothing.
	Shared Shared
	// Earlier, if not nil, is a layer with files that the copy may link.
	Earlier *Earlier
	// Layer is the directory that is written into.
	Layer string
	// Dest is an absolute path in the image. It means a directory if it ends in "/" or "/.".
	Dest string
	// OverlayXattr is the prefix of overlayfs's attributes in Layer, "user.overlay." or "trusted.overlay.".
	OverlayXattr string
	// LargeCopied is called for each regular file of layer.LargeFileSize bytes or more that was copied, with its path
	// relative to Layer, the attributes that the source had when it was opened, and the time of that. It may be nil.
	// Several goroutines call it.
	LargeCopied func(path string, st *unix.Stat_t, began time.Time)
	// Moved is called, while Copy runs, with the number of files and bytes of regular files that were written since the
	// last call. It may be nil. Several goroutines call it.
	Moved func(files, bytes int64)
	// Workers limits how many files are copied at the same time; 0 means one for each CPU, but 2 to 8.
	Workers int
}

// CopyResult counts what Copy wrote.
type CopyResult struct {
	// Files counts everything but directories.
	Files int64
	// Bytes is the size of the regular files, holes included, hard links once.
	Bytes int64
	// Missed are the patterns of Sources that matched nothing, which is no error.
	Missed []*NoMatchError
	// Devices counts the device nodes of archives that were left out because only real root can make them.
	Devices int64
	// Owners are the owners of all files that were written, unsorted.
	Owners []Owner
	// From and Into are those of Earlier for a later copy, if Alone says that the layer can be one.
	From, Into string
	Alone      bool
}

// MkdirOptions says what Mkdir makes, and where.
type MkdirOptions struct {
	// View and Layer are as in CopyOptions.
	View  *os.File
	Layer string
	// Path is absolute.
	Path string
	// Owner and Mode are given to each directory that is made. Mode 0 means 0755.
	Owner Owner
	Mode  uint32
	// OverlayXattr is as in CopyOptions.
	OverlayXattr string
}
