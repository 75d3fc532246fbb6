// Package fetch keeps on disk what builds have from elsewhere, for later builds: files from URLs (package web), trees
// from git repositories (package git), and compressed layers of images, which package blobs leaves here. Package shelf
// is the directory that all of them lie in.
//
// Nothing is used before its digest has been checked, and nothing appears under its name before it is whole; layers
// alone are verified every time that they are given out, so that nobody waits for the disk.
package fetch
