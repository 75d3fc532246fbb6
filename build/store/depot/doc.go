// Package depot opens a store with all that a build needs of it, in the order in which that is safe: what killed builds
// left goes first, then what was lost in a crash is mended, and only then is anything used.
package depot
