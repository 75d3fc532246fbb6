package store

import "path/filepath"

// Paths are where the files of a store are.
type Paths struct {
	// Root is the store's directory as the caller has named it.
	Root string
	// Own is cooper's own directory for its records, on the store's file system.
	Own string
}

// Cache is the directory of the build cache's records.
func (p Paths) Cache() string { return filepath.Join(p.Own, "cache") }

// Remote is the directory in which downloaded files, git repositories and blobs are kept.
func (p Paths) Remote() string { return filepath.Join(p.Own, "remote") }

// Stats is the file with the digests of context files.
func (p Paths) Stats() string { return filepath.Join(p.Own, "stat") }
