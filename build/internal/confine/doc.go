// Package confine says what confines RUN steps besides their namespaces and capabilities: filters of system calls,
// profiles of the kernel's security modules, and no new privileges.
package confine
