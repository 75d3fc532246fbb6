// Package ids knows which user namespace a step is in, which capabilities it can get there, and which IDs its files
// have on disk, in memory file systems and in the caller's user namespace.
package ids
