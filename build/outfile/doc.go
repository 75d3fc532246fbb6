// Package outfile writes to the places that a user names: files of any kind, and directories.
//
// What it promises:
//
//   - Nobody else says where. A name is followed one component at a time, by descriptor. In a directory that everyone
//     may write to and that has the sticky bit, such as /tmp, a symbolic link, file, FIFO or device of another user's
//     is [ErrForeign], unless it belongs to the directory's owner. That is what the kernel's fs.protected_symlinks,
//     _regular and _fifos do where they are set, here for links in the middle of a name as well. Hard links that others
//     have planted are never written through: a file is replaced.
//   - Nothing half-written. What is written gets its name when it is whole, or never.
//   - Nothing left. A file has no name until it is whole, where the file system can do that. Otherwise, and for
//     directories, it has a temporary name, and is locked: what a killed process has left is removed by the next that
//     writes to the same directory.
package outfile
