// Package plan turns a Dockerfile into an immutable graph of steps.
//
// [Make] expands every instruction as BuildKit does, resolves the images the target needs, and leaves out whatever the
// target doesn't need. A step carries all that is needed to run it and the image config that holds after it; nothing
// later has to look at the Dockerfile again. The package is pure but for the [Resolver] it is given.
//
// Errors in the Dockerfile are *dockerfile.Error values. What cooper can't build is refused by name.
//
// The package is large because instructions, variables, stages and mounts are expanded together, in the order of the
// file.
package plan
