// Package cli is the command line: one file a verb, which makes a request of flags and an exit status of an error.
package cli
