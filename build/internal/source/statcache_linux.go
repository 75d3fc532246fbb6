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
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

const (
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

	// known are the records of the file; nil: there are none.
	known *statPages

	mu    sync.Mutex
	fresh map[statKey]fileSum
}

// fileSum is the digest of a file with its attributes, and the mark of its content.
type fileSum struct {
	sum  hashSum
	mark contentMark
}

// sumIn is the digest in a record.
func sumIn(record []byte) fileSum {
	return fileSum{hashSum(record[keySize:]), contentMark(record[markAt:])}
}

// markAt is where in a record the mark is.
const markAt = keySize + 32 + 4

// statKey is the key of a record, in the encoding of the file.
type statKey [keySize]byte

// OpenStatCache gives the cache in the file at path, which is read at the first look-up. A missing or damaged file
// counts as empty.
func OpenStatCache(path string) *StatCache {
	return &StatCache{path: path, fresh: map[statKey]fileSum{}}
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
func (c *StatCache) lookup(st *unix.Stat_t) (fileSum, bool) {
	if c == nil {
		return fileSum{}, false
	}
	c.load.Do(c.read)
	key := cacheKey(st)
	if sum, ok := c.known.use(key); ok {
		return sum, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sum, ok := c.fresh[key]
	return sum, ok
}

// insert adds the digest of a file, unless the file changed less than racyTime before began, when reading it began.
func (c *StatCache) insert(st *unix.Stat_t, sum fileSum, began time.Time) {
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

// read opens the file.
func (c *StatCache) read() {
	// A file is replaced as a whole, so that what is read of an open one belongs together.
	f, err := os.Open(c.path)
	if err != nil {
		return
	}
	if c.from, err = f.Stat(); err == nil {
		c.known = openPages(f)
	}
	if c.known == nil {
		_ = f.Close() // nothing was written
	}
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
	if len(c.fresh) == 0 && (c.known == nil || !c.known.stale.Load()) {
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
	if err := fsys.Replace(c.path, latest.encode(latest.generation()+1), fsys.ReplaceOptions{}); err != nil {
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
	return err != nil || generationIn(header) != c.generation()
}

// generation is that of the file that was read.
func (c *StatCache) generation() uint32 {
	if c.known == nil {
		return 0
	}
	return c.known.generation
}

// merged reads the file again, and adds to what is in it the records that are new here and those that were used.
func (c *StatCache) merged() *StatCache {
	latest := OpenStatCache(c.path)
	latest.load.Do(latest.read)
	add := func(key statKey, sum fileSum) {
		if _, ok := latest.known.use(key); !ok {
			latest.fresh[key] = sum
		}
	}
	records, used := c.known.all()
	for n, record := range records {
		if used[n] {
			add(statKey(record), sumIn(record))
		}
	}
	for key, sum := range c.fresh {
		add(key, sum)
	}
	return latest
}

// encode gives the content of the whole file.
func (c *StatCache) encode(generation uint32) []byte {
	known, used := c.known.all()
	records := make([][]byte, 0, len(known)+len(c.fresh))
	for n, record := range known {
		if used[n] {
			mark := record[markAt:]
			record = append(binary.BigEndian.AppendUint32(slices.Clone(record[:keySize+32]), generation), mark...)
		}
		if generation-lastUse(record) <= maxUnused {
			records = append(records, record)
		}
	}

	for key, sum := range c.fresh {
		record := append(append(make([]byte, 0, recordSize), key[:]...), sum.sum[:]...)
		record = binary.BigEndian.AppendUint32(record, generation)
		records = append(records, append(record, sum.mark[:]...))
	}

	if len(records) > maxRecords {
		slices.SortFunc(records, func(a, b []byte) int { return int(lastUse(b)) - int(lastUse(a)) })
		records = records[:maxRecords]
	}

	slices.SortFunc(records, func(a, b []byte) int { return bytes.Compare(a[:keySize], b[:keySize]) })
	return encodePages(generation, records)
}
