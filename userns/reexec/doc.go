// Package reexec runs the program again inside a user namespace of its own.
//
// [Enter] clones a child into a new user and mount namespace. The child executes
// the same file with the same arguments; its first act, [Child], is to wait on a
// pipe while the parent has newuidmap(1) and newgidmap(1) write the ID maps, both
// at once. Then it is root there, and Child returns to main.
//
// The child executes the file before its maps exist, when it has no user ID that
// execve(2) would take for root and so would lose the capabilities that the new
// namespace gave it. They are therefore raised into the ambient set before the
// execve and taken out of it (and out of the inheritable set) by Child. So one
// execve is enough, and what the program does before main runs while the maps are
// being written. Neither cgo nor a setuid program of our own is needed.
//
// The parent lives on only to wait: it hands on signals and the exit status. If
// it dies, kill -9 included, the kernel kills the child.
//
// What the machine lacks is a [MachineError]: one sentence and the remedy.
package reexec
