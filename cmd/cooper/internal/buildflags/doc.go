// Package buildflags reads the flags of a build about what it makes and where from: build arguments, the image, its
// dates, platforms and places, shared caches, and the log.
package buildflags
