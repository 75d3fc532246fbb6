// Package cli is the command line: one file a verb, which makes a request of flags and an exit status of an error.
//
// One room: a verb is a file, and all share one table of flags, one way to print and one to end.
package cli
