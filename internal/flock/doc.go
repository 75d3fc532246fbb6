// Package flock takes advisory locks of whole files with flock(2), and with fcntl(2) where they are
// converted. A lock belongs to the open file: it ends when that
// is closed, also by the end of the process, however it ends.
//
// Whoever waits for a lock can be interrupted: when the context ends, the wait ends with the context's cause, and
// nothing is left behind, no lock, no open file and no goroutine.
package flock
