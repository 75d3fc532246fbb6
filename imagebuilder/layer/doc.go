// Package layer turns directories into image layers.
//
// [Read] walks an overlay diff directory once, in byte order and depth first, and derives everything a layer needs from
// that one pass: the tar stream itself, its diffID, a content digest that leaves out modification times, and the
// tar-split metadata from which containers/storage rebuilds the exact stream later. [ReadChanges] makes the same stream
// from lists of paths, for storage drivers that have no diff directory. Package merge hard-links a stack of diff
// directories into one, owners translates the IDs in a tree, and usage measures what it takes on disk.
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
// Of the extended attributes, security.capability and user.* are written, except overlay's own. The root ID of a file
// capability of version 3 is translated like an owner, and left out if it is 0.
//
// Deleted names follow the OCI image specification (layer.md, "Whiteouts"): an overlay whiteout (character device 0:0)
// becomes an empty file .wh.NAME, and an opaque directory is followed by an empty file .wh..wh..opq. Both have mode,
// owner and time zero, since those of the mark on disk mean nothing. A real file whose name begins with .wh. can't be
// told from a mark, so it is [ErrReservedName].
//
// A file with several names is written once, with its data, under the name that comes first in the walk; its other
// names are hard links to that one. Sockets are left out. Holes of sparse files are written as zeros.
//
// # Names on disk
//
// No function of this package follows a symbolic link or joins paths: it opens directories one component at a time,
// relative to their parent's descriptor. So neither a name that is exchanged for a link nor a path longer than PATH_MAX
// matters. Nothing may write to the tree while it is read; a file whose size differs from its header is [ErrChanged].
package layer
