package store

import "path/filepath"

// CacheDir is the directory of build/cache's records.
func (s *Store) CacheDir() string { return filepath.Join(s.dir, "cache") }

// RemoteDir is the directory in which build/fetch keeps downloaded files and git repositories.
func (s *Store) RemoteDir() string { return filepath.Join(s.dir, "remote") }

// StatsFile is the file in which build/source keeps the digests of context files.
func (s *Store) StatsFile() string { return filepath.Join(s.dir, "stat") }
