// Package seccomp has the system call filter of steps: the list of what is denied, by name and number, as a program for
// the kernel and as the configuration of an OCI runtime.
package seccomp
