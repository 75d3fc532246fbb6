// Package copystep carries out the steps that put files into a root: COPY, ADD and WORKDIR.
//
// The key of a COPY names what is copied by content, however it came to this machine, so that the same files make the
// same layer. What is copied from a context can change meanwhile: the files are looked at before and after, and a step
// whose files have changed is in no cache. What an ADD fetches is fetched once in a build, and not at all where a
// checksum or a commit ID says what it would be.
package copystep
