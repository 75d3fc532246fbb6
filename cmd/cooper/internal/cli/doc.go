// Package cli is the command line: the tree of all commands, one file for each verb that isn't about images alone
// (those are imagecmd's), and an exit status for each error.
//
// One room: build, check and bake share one table of flags, and all verbs one way to end.
package cli
