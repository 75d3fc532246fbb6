// Package store opens a store of containers/storage and keeps what all its rooms share: where it is, its layers, and
// the locks of commits. What is made of that has rooms of its own below this one, each over the open store: images,
// pull, removal, mend. Below it are those that need no store: library, durable, uses, scratch. Package depot opens all
// of it.
//
// These and build/registry are the only packages that import modules of containers/storage's family. All user and group
// IDs are those of the namespace cooper runs in, which are container IDs: see DESIGN, "What rootless means here", in
// docs/architecture.md.
//
// A store is safe for concurrent use, by several processes too.
//
// One room: layers, their directories, mounts and copies are ways to one library, whose locks they share; images,
// pulls, removal and mending have rooms below this one.
package store
