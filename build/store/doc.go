// Package store adapts containers/storage to what a build needs: prepare a directory for a step, commit it as a layer
// or remove it, read layers back, record, find and pull images.
//
// It and build/registry are the only packages that import modules of containers/storage's family. Everything it returns
// is a value of this package or of imagebuilder. All user and group IDs are those of the namespace cooper runs in,
// which are container IDs: see DESIGN, "What rootless means here", in docs/architecture.md.
//
// A store is safe for concurrent use, by several processes too.
package store
