// Package fetch gets files from URLs and trees from git repositories, and keeps them on disk for later builds.
//
// [Sources] is a directory that any number of processes use at the same time. A [File] or a
// [Checkout] that it gives out stays where it is until the caller releases it; other processes share it, so nobody may
// change it. A URL or ref that is asked for again is revalidated (ETag, Last-Modified; the refs of a repository) and
// transferred only if it has changed; an entry that is named by its content (a checksum, a full commit ID) and is in
// the cache needs no network at all.
//
// # Trust
//
// Servers and repositories are hostile. Nothing is used before its digest has been checked, nothing appears under its
// name before it is whole, and memory doesn't grow with what a server sends. The git program runs without the user's
// and the system's configuration, without hooks, credential helpers, .netrc and the user's ssh keys; only the
// transports https, http, ssh and git can be used, and file only for a repository that is a file itself. Symbolic links
// in a repository lead nobody out: a subdirectory is found without following any.
//
// Credentials reach git through the environment, never through arguments. They appear in no error, no file name and no
// file of the cache.
//
// Compressed layers of images are kept beside the files and trees: package blobs leaves them here, and each is verified
// every time that it is given out.
//
// One room: a file of a URL and a tree of a repository are kept, locked, noted and removed in the same way, which is
// most of the code.
package fetch
