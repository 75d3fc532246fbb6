// Package scratch makes temporary directories and files on the store's file system. If a process is killed, the next
// sweep of another process removes those that it left.
//
// A directory belongs to the process that holds a lock (flock) on the file "lock" in it. A lock of its own keeps sweeps
// apart from the moments between a directory's making and its locking, so that a sweep never removes a new directory.
package scratch
