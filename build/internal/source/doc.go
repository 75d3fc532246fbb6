// Package source opens the directories that a build takes files from, finds the files that a COPY selects, and digests
// their content.
//
// Everything below a root is hostile: it may hold symlinks to anywhere, and it may change while it is read. So a root
// is an open directory, a path is followed one component at a time with O_NOFOLLOW, and the target of a symlink is
// followed in the same way, from inside the root. The package never opens, reads or names a file outside of a root,
// however the tree changes meanwhile.
//
// The rules of ignore files and of COPY sources are those of docker (BuildKit):
//
//   - leading ".." of a source are dropped; the source is then looked for below the root, and if it isn't there the
//     error says that it lies outside;
//   - a source that is a symlink is followed, inside the root, whether it was named or matched by a pattern;
//   - the name of a directory that is a source, and its own attributes, aren't part of what is copied, and so not of
//     the digest;
//   - a pattern that matches nothing is no error, unless the directory it begins with isn't there and nothing else was
//     selected.
//
// One room: patterns, ignore files and digests are applied in one pass over the context.
package source
