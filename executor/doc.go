// Package executor runs one step of a build in a container of its own.
//
// Run takes everything as plain values and open directories and promises:
//
//   - The step gets its own mount, pid, ipc, uts and cgroup namespaces (and a network namespace with only a loopback
//     device for
//     Network "none"); with a Mapping also its own user namespace. Its root is entered with pivot_root and the old root
//     is gone.
//   - It starts with the usual container capability set (nothing inheritable, nothing ambient), a seccomp filter, a
//     session and
//     a session keyring of its own, default signal actions, umask 022, standard input from /dev/null, no other
//     descriptor, and no variable of the caller's environment.
//   - Every path inside the hostile root is resolved by the kernel with openat2 relative to an open root directory;
//     nothing is
//     looked up twice, no string is joined to a host path.
//   - What Run adds to the root (mount points, /dev, name resolution files) leaves no trace in the layer.
//   - When Run returns, no process, mount or descriptor of the step is left. When the caller is killed, even by
//     SIGKILL, the
//     kernel and a watching process end the step, and its mounts vanish with its namespaces.
//
// The child that becomes the step never runs Go code: it is cloned with shared memory and executes a list of system
// calls that was written down before (package internal/rawproc). That costs no start of a Go program per step.
//
// Each part has a package: step says what a step is, internal/container makes what its child finds ready,
// internal/script writes down what the child does, internal/native and internal/oci are the back ends. This package
// decides which one a step gets, and starts, watches and ends the step.
package executor
