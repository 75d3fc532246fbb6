package source

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrSkipped means that there is no digest because a large file was not read; see DigestOptions.SkipFrom.
var ErrSkipped = errors.New("a large file was not read")

// Known holds content digests of files that were read for another purpose, so that Digest need not read them again.
// Unlike a StatCache it is for one call: its caller must make sure that the files don't change after they were read. It
// is safe for concurrent use; nil holds nothing.
type Known struct {
	// Mounted says that the files are seen through mounts that have a device number of their own each: it doesn't count.
	Mounted bool

	mu    sync.Mutex
	files map[statKey]knownFile
}

type knownFile struct {
	sum   hashSum
	began time.Time
}

// Add records sum, the BLAKE3 digest of the data of the file with the attributes st. began is when reading it began.
func (k *Known) Add(st *unix.Stat_t, sum [32]byte, began time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.files == nil {
		k.files = map[statKey]knownFile{}
	}
	k.files[k.key(st)] = knownFile{hashSum(sum), began}
}

func (k *Known) key(st *unix.Stat_t) statKey {
	own := *st
	if k.Mounted {
		own.Dev = 0
	}
	return cacheKey(&own)
}

func (k *Known) lookup(st *unix.Stat_t) (knownFile, bool) {
	if k == nil {
		return knownFile{}, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	f, ok := k.files[k.key(st)]
	return f, ok
}
