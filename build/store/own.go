package store

import "path/filepath"

// CacheDir is where build/cache keeps its records.
func (s *Store) CacheDir() string { return filepath.Join(s.dir, "cache") }

// RemoteDir is where build/fetch keeps what comes from URLs and git repositories.
func (s *Store) RemoteDir() string { return filepath.Join(s.dir, "remote") }

// StatsFile is where build/source keeps the digests of context files.
func (s *Store) StatsFile() string { return filepath.Join(s.dir, "stat") }
