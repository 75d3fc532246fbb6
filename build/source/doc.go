// Package source opens the places a build takes files from, says which of their files a COPY means, and gives what was
// meant a content digest.
//
// Everything below a root is hostile: it may hold symlinks to anywhere, and it may change while it is read. So a root
// is an open directory, a path is followed one component at a time with O_NOFOLLOW, and a symlink is text that is
// followed again from inside the root. Nothing here opens, reads or names a file outside its root, whatever the tree
// does meanwhile.
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
// One room: what a pattern selects is walked, ignored and digested in one pass over the context.
package source
