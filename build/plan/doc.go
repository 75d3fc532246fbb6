// Package plan turns a Dockerfile into an immutable graph of steps.
//
// [Make] expands every instruction as BuildKit does, resolves the images the target needs, and leaves out whatever the
// target doesn't need. A step carries all that is needed to run it and the image config that holds after it; nothing
// later has to look at the Dockerfile again. The package is pure but for the [Resolver] it is given.
//
// Errors in the Dockerfile are *dockerfile.Error values. What cooper can't build is refused by name.
//
// One room: every instruction is expanded with the variables, the config and the linter's findings that those before it
// leave in its stage, so a step, what it is called and what is wrong with it come from one reading of the file.
//
// A planner has its parts do one after the other: arguments are read, a reader reads the stages, resolving finds their
// images, and staging makes the steps.
package plan
