package source

import (
	"encoding/binary"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Contents says what is in the regular files that Digest has found below directories, so that a later copy can tell
// which of them are still the same. It belongs to one call.
type Contents struct {
	mu sync.Mutex
	// lists hold the records, of some directories each.
	lists [][]byte
}

// contentsPart is how many bytes a part of the records has, so that no large one is moved to grow.
const contentsPart = 64 << 10

// A record of Contents is a digest of a file's path, which tells the files of one listing apart, and the beginning of
// the digest of its content with the extended attributes.
const (
	contentPath   = 8
	contentSum    = 24
	contentRecord = contentPath + contentSum
)

// keep adds the files of a directory that is done.
func (c *Contents) keep(d *dirHash) {
	if c == nil {
		return
	}
	own := pathHash(d.path)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range d.entries {
		if e.kind != unix.DT_REG {
			continue
		}
		last := len(c.lists) - 1
		if last < 0 || len(c.lists[last])+contentRecord > cap(c.lists[last]) {
			c.lists = append(c.lists, make([]byte, 0, contentsPart))
			last++
		}
		list := binary.LittleEndian.AppendUint64(c.lists[last], own.child(e.name))
		c.lists[last] = append(list, e.sum[:contentSum]...)
	}
}

// Count is how many files there are.
func (c *Contents) Count() (n int) {
	for _, list := range c.lists {
		n += len(list) / contentRecord
	}
	return n
}

// Bytes is what [Contents.Same] of another call takes.
func (c *Contents) Bytes() []byte { return slices.Concat(c.lists...) }

// Same gives a function that tells of a path whether the file had the same content in an earlier listing; nil if none
// had, or the listing is none. Paths with the same digest count as other files.
func (c *Contents) Same(earlier []byte) func(path string) bool {
	if len(earlier)%contentRecord != 0 {
		return nil
	}
	before, now := contentsByPath(earlier), contentsByPath(c.Bytes())
	for path, sum := range now {
		if sum == nil || string(before[path]) != string(sum) {
			delete(now, path)
		}
	}
	if len(now) == 0 {
		return nil
	}
	return func(path string) bool { return now[uint64(pathHash(path))] != nil }
}

// contentsByPath gives the digests of contents by those of paths; nil: several files have it.
func contentsByPath(list []byte) map[uint64][]byte {
	all := make(map[uint64][]byte, len(list)/contentRecord)
	for ; len(list) > 0; list = list[contentRecord:] {
		path, sum := binary.LittleEndian.Uint64(list), list[contentPath:contentRecord]
		if _, several := all[path]; several {
			sum = nil
		}
		all[path] = sum
	}
	return all
}

// pathSum is a digest of a path: FNV-1a with 64 bits.
type pathSum uint64

// pathHash makes the digest of a path.
func pathHash(path string) pathSum {
	const offset = 14695981039346656037
	return pathSum(offset).add(path)
}

func (s pathSum) add(text string) pathSum {
	const prime = 1099511628211
	for i := range len(text) {
		s = (s ^ pathSum(text[i])) * prime
	}
	return s
}

// child is the digest of the path of a name in the directory whose path has the digest s.
func (s pathSum) child(name string) uint64 {
	if s != pathHash("") {
		s = s.add("/")
	}
	return uint64(s.add(name))
}
