// Package rawproc starts child processes that share the caller's memory and carry out a list of system calls written
// down before, ending in execve or exit.
//
// A Go process has many threads, so a forked child must not run Go code, and copying the page tables of a big process
// takes longer than all that the child has to do. The child here is cloned with CLONE_VM but not CLONE_VFORK: it keeps
// to registers (the loop that runs the list is assembly, touches no stack and no thread-local storage), so that the
// caller's threads, this one too, simply go on. The child's result is written to the shared memory: no descriptor has
// to survive in the child to learn it.
//
// Until the child executes a program or ends, whoever may look into it looks into the caller. When a child changes its
// user or enters a user namespace, the kernel therefore closes the memory to all that have no CAP_SYS_PTRACE where the
// caller executed its program (PR_SET_DUMPABLE becomes 0). That must never be undone: another child may be about to
// become any user.
//
// All signals are blocked in the child until its program unblocks them, and have no handlers; those that the caller
// ignores are still ignored.
package rawproc
