// Package mounts plans what is mounted where in a step's root, and in which order: the mounts that the step asks for,
// its small files and sockets, and the files of name resolution. It makes the detached mounts and the mount points.
package mounts
