// Package containers keeps the working containers of a store: a record, a writable layer on an image, and files beside
// them. It has them as buildah does, so that either works with the containers of the other.
//
// A container is worked on by one process at a time, who has its lock; other tools know nothing of that lock.
package containers
