// Package fsys is the ground floor for system calls on files. What is here is what several rooms need of the kernel and
// what is easily got wrong: calls that signals interrupt, opening below a directory that is hostile, listing a
// directory, copying data with its holes, replacing a file as a whole.
//
// Directories are given by descriptors; nothing in this package joins and checks paths. IDs don't occur in it.
package fsys
