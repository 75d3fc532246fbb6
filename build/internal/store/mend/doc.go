// Package mend looks, before a store is used, for what was lost when its disk was last stopped, and removes what can't
// be used without it.
//
// Layers that weren't known to be on the disk are measured: their archives against their digests, and their files
// against the archives. What stands on a bad one goes with it; what is whole below stays for the cache.
package mend
