package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// The cache file: magic, generation (4 bytes), number of records (8), records sorted by key, BLAKE3 of all that. A
// record is device, inode, size, mtime, ctime (8 bytes each, times in ns), digest (32), the generation it was last used
// in (4) and 4 bytes of padding. Numbers are big-endian.
const (
	cacheMagic  = "cooperstat1\n"
	cacheHeader = len(cacheMagic) + 4 + 8
	keySize     = 5 * 8
	recordSize  = keySize + 32 + 4 + 4
	// maxRecords is how many records the cache may have (80 MB). Those that were used last are kept.
	maxRecords = 1 << 20
	// maxUnused is the number of saves after which a record that wasn't used is dropped.
	maxUnused = 100
	// markEvery is how many generations old the mark of a used record may become before Save writes the file only to renew
	// it.
	markEvery = maxUnused / 4
)

// racyTime is how long ago a file must have changed for its times to be trusted. A change right after the file was read
// might leave its times as they are, because of the clock's resolution, or because another machine with a clock that is
// slightly behind makes the change.
const racyTime = 2 * time.Second

// StatCache remembers content digests by (device, inode, size, mtime, ctime), so that an unchanged file need not be
// read again. It is safe for concurrent use. Several may use one file, in this process and others: each saves its
// records beside those of the others. The nil StatCache remembers nothing.
type StatCache struct {
	path string
	load sync.Once
	// from is the file as it was when it was read; nil: there was none, or it can't be told.
	from os.FileInfo

	// records are the records of the file, in its encoding. used tells for each, by its index, whether this process used
	// it.
	records    []byte
	generation uint32
	used       []atomic.Bool

	mu    sync.Mutex
	fresh map[statKey]hashSum
}

// statKey is the key of a record, in the encoding of the file.
type statKey [keySize]byte

// OpenStatCache gives the cache in the file at path, which is read at the first look-up. A missing or damaged file
// counts as empty.
func OpenStatCache(path string) *StatCache {
	return &StatCache{path: path, fresh: map[statKey]hashSum{}}
}

func cacheKey(st *unix.Stat_t) (key statKey) {
	binary.BigEndian.PutUint64(key[0:], st.Dev)
	binary.BigEndian.PutUint64(key[8:], st.Ino)
	binary.BigEndian.PutUint64(key[16:], uint64(st.Size))
	binary.BigEndian.PutUint64(key[24:], uint64(st.Mtim.Nano()))
	binary.BigEndian.PutUint64(key[32:], uint64(st.Ctim.Nano()))
	return key
}

// lookup gives the digest of the file with the attributes st; ok is false if the cache doesn't have it.
func (c *StatCache) lookup(st *unix.Stat_t) (hashSum, bool) {
	if c == nil {
		return hashSum{}, false
	}
	c.load.Do(c.read)
	key := cacheKey(st)
	if n, ok := c.find(key); ok {
		c.used[n].Store(true)
		return hashSum(c.records[n*recordSize+keySize:]), true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sum, ok := c.fresh[key]
	return sum, ok
}

// find gives the number of a record of the file.
func (c *StatCache) find(key statKey) (n int, ok bool) {
	count := len(c.records) / recordSize
	n = sort.Search(count, func(n int) bool {
		return bytes.Compare(c.records[n*recordSize:n*recordSize+keySize], key[:]) >= 0
	})
	return n, n < count && bytes.Equal(c.records[n*recordSize:n*recordSize+keySize], key[:])
}

// insert adds the digest of a file, unless the file changed less than racyTime before began, when reading it began.
func (c *StatCache) insert(st *unix.Stat_t, sum hashSum, began time.Time) {
	if c == nil {
		return
	}
	for _, changed := range []unix.Timespec{st.Ctim, st.Mtim} {
		age := began.Sub(time.Unix(changed.Unix()))
		if age < racyTime && age > -racyTime {
			return
		}
	}
	if began.Before(time.Unix(st.Ctim.Unix())) {
		return
	}
	key := cacheKey(st)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.fresh) < maxRecords {
		c.fresh[key] = sum
	}
}

// read loads the file.
func (c *StatCache) read() {
	// A file is replaced as a whole, so that what is read of an open one belongs together.
	f, err := os.Open(c.path)
	if err != nil {
		return
	}
	defer f.Close()
	if c.from, err = f.Stat(); err != nil {
		return
	}
	text, err := io.ReadAll(f)
	if err != nil || len(text) < cacheHeader+len(hashSum{}) || string(text[:len(cacheMagic)]) != cacheMagic {
		return
	}
	body, sum := text[:len(text)-len(hashSum{})], hashSum(text[len(text)-len(hashSum{}):])
	records := body[cacheHeader:]
	count := binary.BigEndian.Uint64(body[cacheHeader-8:])
	if count > maxRecords || len(records) != int(count)*recordSize || blake3.Sum256(body) != sum {
		return
	}
	c.generation = binary.BigEndian.Uint32(body[len(cacheMagic):])
	c.records, c.used = records, make([]atomic.Bool, count)
}

// Save writes the cache if it has new records, with those that others have saved since it was read. Records that no
// build used for maxUnused saves are dropped. The file is replaced by rename, and its directory is made if it is
// missing.
func (c *StatCache) Save(ctx context.Context) (err error) {
	if c == nil {
		return nil
	}
	c.load.Do(c.read)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.fresh) == 0 && !c.staleMarks() {
		return nil
	}

	lock, err := c.lock(ctx)
	if err != nil {
		return fmt.Errorf("save file digests: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	latest := c
	if c.replaced() {
		latest = c.merged()
	}
	// The file isn't synced: if a crash damages it, its checksum fails and the cache counts as empty.
	if err := fsys.Replace(c.path, latest.encode(latest.generation+1), fsys.ReplaceOptions{}); err != nil {
		return fmt.Errorf("save file digests: %w", err)
	}
	return nil
}

// lock keeps others from saving, and makes the directory of the file.
func (c *StatCache) lock(ctx context.Context) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return nil, err
	}
	return flock.File(ctx, c.path+".lock", flock.Exclusive)
}

// replaced tells whether the file isn't the one that was read any more.
func (c *StatCache) replaced() bool {
	f, err := os.Open(c.path)
	if err != nil {
		return c.from != nil
	}
	defer f.Close()
	now, err := f.Stat()
	if err != nil || c.from == nil || !os.SameFile(now, c.from) {
		return true
	}
	// A file that came long after the one that was read may have its inode number. Its time tells nothing: each build
	// sets that.
	header := make([]byte, cacheHeader)
	_, err = io.ReadFull(f, header)
	return err != nil || binary.BigEndian.Uint32(header[len(cacheMagic):]) != c.generation
}

// merged reads the file again, and adds to what is in it the records that are new here and those that were used.
func (c *StatCache) merged() *StatCache {
	latest := OpenStatCache(c.path)
	latest.load.Do(latest.read)
	add := func(key statKey, sum hashSum) {
		if n, ok := latest.find(key); ok {
			latest.used[n].Store(true)
			return
		}
		latest.fresh[key] = sum
	}
	for n := range c.used {
		if record := c.records[n*recordSize:]; c.used[n].Load() {
			add(statKey(record), hashSum(record[keySize:]))
		}
	}
	for key, sum := range c.fresh {
		add(key, sum)
	}
	return latest
}

// staleMarks reports whether a record was used whose mark is older than markEvery generations.
func (c *StatCache) staleMarks() bool {
	for n := range c.used {
		if c.used[n].Load() && c.generation-lastUse(c.records[n*recordSize:]) > markEvery {
			return true
		}
	}
	return false
}

func lastUse(record []byte) uint32 { return binary.BigEndian.Uint32(record[keySize+32:]) }

// encode gives the content of the whole file.
func (c *StatCache) encode(generation uint32) []byte {
	records := make([][]byte, 0, len(c.used)+len(c.fresh))
	for n := range c.used {
		record := c.records[n*recordSize:][:recordSize]
		if c.used[n].Load() {
			binary.BigEndian.PutUint32(record[keySize+32:], generation)
		}
		if generation-lastUse(record) <= maxUnused {
			records = append(records, record)
		}
	}

	for key, sum := range c.fresh {
		record := append(append(make([]byte, 0, recordSize), key[:]...), sum[:]...)
		record = binary.BigEndian.AppendUint32(record, generation)
		records = append(records, append(record, 0, 0, 0, 0))
	}

	if len(records) > maxRecords {
		slices.SortFunc(records, func(a, b []byte) int { return int(lastUse(b)) - int(lastUse(a)) })
		records = records[:maxRecords]
	}

	slices.SortFunc(records, func(a, b []byte) int { return bytes.Compare(a[:keySize], b[:keySize]) })
	out := make([]byte, 0, cacheHeader+len(records)*recordSize+len(hashSum{}))
	out = append(out, cacheMagic...)
	out = binary.BigEndian.AppendUint32(out, generation)
	out = binary.BigEndian.AppendUint64(out, uint64(len(records)))
	for _, record := range records {
		out = append(out, record...)
	}

	sum := blake3.Sum256(out)
	return append(out, sum[:]...)
}
