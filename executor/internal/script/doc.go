// Package script has the parts of which back ends make the programs of steps' first processes: lists of system calls,
// which are complete before the process starts. It also says in errors for people what the failure of a call means.
package script
