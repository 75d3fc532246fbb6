package layer

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
)

// Sums are the digests of large files that several layers have as hard links, so that only the first of them to be read
// makes them; the others read such a file for their diffID alone. A Sums is for directories that stay, unchanged, as
// long as it is in use. The zero value is ready; it is safe for concurrent use.
type Sums struct {
	mu    sync.Mutex
	files map[dataID]*fileSum
}

// dataID names the data of a file as long as one of its names stays.
type dataID struct {
	file  tree.FileID
	size  int64
	mtime unix.Timespec
}

// largeFile is a file whose data has a digest of its own.
type largeFile struct {
	id dataID
	// shared tells that the file has several names: another directory may have it.
	shared bool
}

// fileSum is what is derived from the data of a file. It may be read once done is closed.
type fileSum struct {
	done chan struct{}
	sum  [32]byte // BLAKE3
	crc  uint64   // CRC-64, as tar-split has it
	ok   bool     // false: whoever read the file has failed
}

var errSumLost = errors.New("the layer that has the file, too, could not be read")

// claim gives what is or will be derived from a file's data; mine tells the caller to do that, and to call settle. Who
// has a claim waits for nobody until it is settled.
func (s *Sums) claim(f *largeFile) (sum *fileSum, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sum, ok := s.files[f.id]; ok && f.shared {
		return sum, false
	}
	if s.files == nil {
		s.files = map[dataID]*fileSum{}
	}
	sum = &fileSum{done: make(chan struct{})}
	s.files[f.id] = sum
	return sum, true
}

// wait waits until the sum is there.
func (f *fileSum) wait(ctx context.Context) error {
	select {
	case <-f.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !f.ok {
		return errSumLost
	}
	return nil
}
