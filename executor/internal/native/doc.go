// Package native is the back end that runs a step by itself: the step's first process is this program's child.
package native
