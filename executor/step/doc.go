// Package step says what a step of a build is, as plain values: its command, root, mounts, privileges and limits, the
// OCI runtime that may run it, and how it can fail. Package executor runs it.
package step
