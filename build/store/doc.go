// Package store adapts containers/storage and containers/image to what a build needs: prepare a directory for a step,
// commit it as a layer or remove it, read layers back, record, find and pull images.
//
// It is the only package that imports either library. Everything it returns is a value of this package or of
// imagebuilder. All user and group IDs are those of the namespace cooper runs in, which are container IDs: see DESIGN,
// "What rootless means here", in docs/architecture.md.
//
// A store is safe for concurrent use, by several processes too.
package store
