package layer

import (
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
)

// Errors that callers may tell apart with errors.Is. Each is wrapped with the path it is about.
var (
	// ErrReservedName reports a file that a layer can't hold because it would read as a deletion mark: its name begins
	// with ".wh.", or it is a character device 0:0 outside a diff directory.
	ErrReservedName = tree.ErrReservedName
	// ErrChanged reports that a file grew, shrank or was replaced while it was read.
	ErrChanged = tree.ErrChanged
	// ErrHeaderTooLarge reports an entry whose name, link target and extended attributes exceed the 1 MiB that tar readers
	// take.
	ErrHeaderTooLarge = errors.New("name and extended attributes exceed 1 MiB")
	// ErrXattrName reports an extended attribute whose name holds "=", which a PAX record can't express.
	ErrXattrName = errors.New("extended attribute name holds \"=\"")
	// ErrRedirect reports a diff directory written with overlay's redirect_dir or metacopy: it doesn't hold its own
	// content.
	ErrRedirect = tree.ErrRedirect
)

// HugeHoles is how many bytes of holes a file must have to be reported to Options.Sparse. A layer holds zeros in place
// of holes, and writing them takes time. The alternative would be GNU's sparse entries, but tools that keep layers
// unpacked don't write those again, so that the layer would get another diffID.
const HugeHoles = 4 << 30

// Options says what Read and ReadChanges derive from a directory besides the digests. The zero value is ready for use.
type Options struct {
	// OverlayXattr is the prefix of overlay's own extended attributes, with the dot: "user.overlay." or
	// "trusted.overlay.". Read finds opaque directories by it; if it is empty, no directory is opaque.
	OverlayXattr string
	// TarSplit receives uncompressed tar-split JSON, one entry a line, as tar/storage.NewJSONPacker writes it; nil: none.
	TarSplit io.Writer
	// Tar receives the bytes of the tar stream; nil: none. Writes come one after the other but from another goroutine, and
	// one that blocks keeps Read from returning even when ctx is cancelled.
	Tar io.Writer
	// LargeFile is told the BLAKE3 digest of the data of each file of LargeFileSize or more, once for files with several
	// names; nil: nobody is. The name is relative, without "./". Calls come one after the other but from another
	// goroutine, and none after Read has returned.
	LargeFile func(name string, sum [32]byte)
	// Sums holds digests of large files that were read for other layers, and gets those of this one; nil: all are made
	// anew. It is of use with TarSplit only.
	Sums *Sums
	// Progress is told how many more bytes of the stream have been read, from one goroutine, as often as there is
	// something to tell; nil: nobody is. Zeros of holes are counted.
	Progress func(bytes int64)
	// Sparse is told of each file whose holes are HugeHoles or more before they are gone through: its name, as LargeFile
	// has it, its size and what it takes on disk, both in bytes. nil: nobody is.
	Sparse func(name string, size, disk int64)
	// Owners translates the owner found on disk to container IDs; nil: they are the same. Its error is returned with the
	// path.
	Owners func(uid, gid uint32) (containerUID, containerGID uint32, err error)
	// Skip tells whether [Read] leaves a file out, and all below it, by its name, as LargeFile has it, and mode; nil:
	// nothing is left out.
	Skip func(name string, mode uint32) (bool, error)
	// Date replaces modification times; nil: they stay as they are.
	Date *Date
	// ParentRoot holds the attributes of "/" in the parent layer. The stream has an entry "./" only if the layer's own
	// differ; nil: never.
	ParentRoot *RootAttr
}

// Result describes the stream made by one pass over a directory.
type Result struct {
	DiffID digest.Digest // SHA-256 of the tar stream
	Size   int64         // length of the tar stream in bytes, its trailer included
	// digest of all that is in the layer but modification times; comparable only with digests of this package
	Content digest.Digest
	Empty   bool     // the stream has no entry: nothing changed
	UIDs    []uint32 // container user IDs of the entries, sorted, each once
	GIDs    []uint32 // container group IDs of the entries, sorted, each once
	// bytes allocated for the files of the entries, counted as usage.Size.Bytes is; the root directory isn't counted
	Disk   int64
	Linked bool // at least one file of the layer has a further name outside of the directory that was read
}

// RootAttr holds the attributes of a layer's root directory, as [ReadRootAttr] finds them. Its IDs are those on disk,
// before Options.Owners.
type RootAttr struct {
	Mode     uint32 // permission, set-ID and sticky bits
	UID, GID uint32
	Xattrs   map[string]string // values by name of the extended attributes that a layer can hold; nil: none
}
