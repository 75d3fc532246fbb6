// Package store opens a store of containers/storage and holds what the packages below it share: its directories, its
// layers, and the locks of commits. The packages images, pull, removal and mend work on the open store; library,
// durable, uses and scratch need no open store. Package depot opens all of them.
//
// These and the rooms of build/registry are the only packages that import modules of containers/storage's family. All
// user and group IDs are those of the namespace cooper runs in, which are container IDs: see DESIGN, "What rootless
// means here", in docs/architecture.md.
//
// A store is safe for concurrent use, by several processes too.
//
// The package is large because layers, their directories, mounts and copies all go through one library, whose locks
// they share; images, pulls, removal and mending are packages of their own.
package store
