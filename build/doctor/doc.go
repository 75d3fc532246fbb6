// Package doctor says what a build needs of the machine, what of it is there, and what would help.
//
// [Probe] gathers facts, by doing what a build does: it makes the user namespace, mounts, and runs a step. It never
// fails: what can't be found out is a fact, too. [Evaluate] turns facts into a [Report] and looks at nothing else, so
// that each of its answers can be tested without the machine that deserves it.
package doctor
