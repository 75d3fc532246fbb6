// Package layer turns directories into image layers.
//
// [Read] walks an overlay diff directory once, in byte order and depth first, and derives everything a layer needs from
// that one pass: the tar stream itself, its diffID, a content digest that leaves out modification times, and the
// tar-split metadata from which containers/storage rebuilds the exact stream later. [ReadChanges] makes the same stream
// from lists of paths, for storage drivers that have no diff directory. [Merge] hard-links a stack of diff directories
// into one.
//
// # The stream
//
// The same tree gives the same bytes, always. Names are relative, directories end in a slash, and the entries of a
// directory follow it in byte order. Headers are USTAR, with PAX records where USTAR can't hold a value: long or
// non-ASCII names and link targets, large IDs and sizes, times before 1970, and extended attributes
// (SCHILY.xattr.NAME). Names that aren't valid UTF-8 are stored as they are in the PAX record, which Go's archive/tar
// and GNU tar read back unchanged. User and group names, access and change times are never written; modification times
// are whole seconds, truncated. The stream ends with two zero blocks.
//
// Of the extended attributes, security.capability and the user namespace are written, without overlay's own. Of a
// version 3 capability the root ID is translated like an owner, and left out if it is 0.
//
// Deleted names follow the OCI image specification (layer.md, "Whiteouts"): an overlay whiteout (character device 0:0)
// becomes an empty file .wh.NAME, and an opaque directory is followed by an empty file .wh..wh..opq. Both have mode,
// owner and time zero, since those of the mark on disk mean nothing. A real file whose name begins with .wh. can't be
// told from a mark, so it is [ErrReservedName].
//
// Names of one inode are hard links: the first in walk order carries the data. Sockets are left out. Holes of sparse
// files are written as zeros.
//
// # Names on disk
//
// No function here follows a symbolic link or joins a path: directories are opened one component at a time relative to
// their parent's descriptor, so neither a link swapped in nor a path longer than PATH_MAX matters. The tree itself must
// rest while it is read; a file whose size differs from its header is [ErrChanged].
//
// One room: reading a directory, its differences and a merge write one stream, which must be the same to the byte.
package layer
