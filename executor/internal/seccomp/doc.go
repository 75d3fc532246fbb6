// Package seccomp has the system call filters of steps: the engines' default list with cooper's changes, a profile of
// the user's, or one that only keeps a step from keys. Each is a program for the kernel, and a part of the
// configuration of an OCI runtime.
package seccomp
