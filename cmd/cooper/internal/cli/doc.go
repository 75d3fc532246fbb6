// Package cli is the command line: the tree of all commands, whose rooms are the packages beside this one, command
// lines of other tools, and an exit status for each error.
package cli
