// Package index is what a place with results of steps knows: its records, the layers and cache mounts that they name,
// and the blobs that hold these. It reads and writes texts only, and nothing of places or of who writes there.
//
// A text comes from outside: [Parse] and [OfImage] refuse all of one in which something is impossible, so that what has
// an index need not look again. An index grows by [Join], which also decides what is left out of it.
package index
