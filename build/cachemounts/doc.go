// Package cachemounts has what is done with the cache mounts of a store by hand: they are listed, removed, and brought
// to places and back, as builds do it by themselves with --cache-to and --cache-from.
package cachemounts
