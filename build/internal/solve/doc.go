// Package solve runs the steps of a plan: those that can, at the same time; each once; none whose turn can't come
// because something it needs has failed.
//
// It knows the graph and nothing of what a step does.
package solve
