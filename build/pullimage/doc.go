// Package pullimage pulls images from registries into a store: one, those of several platforms, or all tags of a
// repository.
package pullimage
