// Package scratch makes directories and files on the store's file system that outlive no process: whatever kills it,
// the next one that sweeps removes what it left.
//
// A directory belongs to the process that has a lock (flock) of the file "lock" in it. Sweeping and the moment between
// a directory's making and its locking keep apart by a lock of their own, so nothing that is just being made is taken.
package scratch
