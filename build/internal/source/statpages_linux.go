package source

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"sort"
	"sync/atomic"

	"github.com/zeebo/blake3"
)

// The cache file is a header and pages. The header is magic, generation (4 bytes), number of records (8) and the first
// half of the BLAKE3 of that; a page is records, sorted by key through all pages, zeros where there are no more, and
// the first half of the BLAKE3 of both. A record is device, inode, size, mtime, ctime (8 bytes each, times in ns),
// digest (32), the generation it was last used in (4) and the mark of the content (4). Numbers are big-endian.
const (
	cacheMagic  = "cooperstat2\n"
	cacheCounts = len(cacheMagic) + 4 + 8
	cacheHeader = cacheCounts + checkSize
	checkSize   = 16
	keySize     = 5 * 8
	recordSize  = keySize + 32 + 4 + 4
	pageSize    = 4096
	pageRecords = (pageSize - checkSize) / recordSize
)

// statPages are the records of a cache file, which are read a page at a time when somebody asks for them: the file has
// those of all contexts, and a build asks for its own. A page that is damaged makes all further ones unknown. The nil
// statPages have no records. They are safe for concurrent use.
type statPages struct {
	// file is closed when nobody has the records any more.
	file       *os.File
	generation uint32
	count      int
	pages      []atomic.Pointer[statPage]
	damaged    atomic.Bool
	// stale tells that a record was used whose mark is older than markEvery generations.
	stale atomic.Bool
}

// statPage has records in the encoding of the file. used tells for each whether this process used it.
type statPage struct {
	records []byte
	used    [pageRecords]atomic.Bool
}

// openPages reads the header of a cache file; nil: it is no whole one.
func openPages(f *os.File) *statPages {
	header := make([]byte, cacheHeader)
	if _, err := io.ReadFull(f, header); err != nil || string(header[:len(cacheMagic)]) != cacheMagic {
		return nil
	}
	count := binary.BigEndian.Uint64(header[cacheCounts-8:])
	info, err := f.Stat()
	if err != nil || count > maxRecords || !checked(header) {
		return nil
	}
	pages := (int(count) + pageRecords - 1) / pageRecords
	if info.Size() != int64(cacheHeader+pages*pageSize) {
		return nil
	}
	return &statPages{file: f, generation: generationIn(header), count: int(count),
		pages: make([]atomic.Pointer[statPage], pages)}
}

func generationIn(header []byte) uint32 { return binary.BigEndian.Uint32(header[len(cacheMagic):]) }

// checked tells whether a part of the file is as it was written: its last bytes are a digest of the others.
func checked(part []byte) bool {
	sum := blake3.Sum256(part[:len(part)-checkSize])
	return bytes.Equal(sum[:checkSize], part[len(part)-checkSize:])
}

// page gives the page of that number; nil if it can't be had.
func (s *statPages) page(n int) *statPage {
	if p := s.pages[n].Load(); p != nil {
		return p
	}
	text := make([]byte, pageSize)
	_, err := s.file.ReadAt(text, int64(cacheHeader+n*pageSize))
	if err != nil || s.damaged.Load() || !checked(text) {
		s.damaged.Store(true)
		return nil
	}
	p := &statPage{records: text[:min(pageRecords, s.count-n*pageRecords)*recordSize]}
	if !s.pages[n].CompareAndSwap(nil, p) {
		return s.pages[n].Load()
	}
	return p
}

// find gives the record that has a key, with its mark of use; nil: there is none.
func (s *statPages) find(key statKey) (record []byte, used *atomic.Bool) {
	if s == nil {
		return nil, nil
	}
	// The page is the last whose first record doesn't come after the key.
	at := sort.Search(len(s.pages), func(n int) bool {
		p := s.page(n)
		return p == nil || bytes.Compare(p.records[:keySize], key[:]) > 0
	}) - 1
	if at < 0 || s.damaged.Load() {
		return nil, nil
	}
	p := s.page(at)
	if p == nil {
		return nil, nil
	}
	count := len(p.records) / recordSize
	n := sort.Search(count, func(n int) bool { return bytes.Compare(p.records[n*recordSize:][:keySize], key[:]) >= 0 })
	if n == count || !bytes.Equal(p.records[n*recordSize:][:keySize], key[:]) {
		return nil, nil
	}
	return p.records[n*recordSize:][:recordSize], &p.used[n]
}

// use gives the digest under a key, and marks its record as used.
func (s *statPages) use(key statKey) (sum fileSum, ok bool) {
	record, used := s.find(key)
	if record == nil {
		return fileSum{}, false
	}
	used.Store(true)
	if s.generation-lastUse(record) > markEvery {
		s.stale.Store(true)
	}
	return sumIn(record), true
}

// all gives all records, and tells of each whether it was used. A damaged file has none.
func (s *statPages) all() (records [][]byte, used []bool) {
	if s == nil {
		return nil, nil
	}
	for n := range s.pages {
		p := s.page(n)
		if p == nil {
			return nil, nil
		}
		for i := range len(p.records) / recordSize {
			records = append(records, p.records[i*recordSize:][:recordSize])
			used = append(used, p.used[i].Load())
		}
	}
	return records, used
}

func lastUse(record []byte) uint32 { return binary.BigEndian.Uint32(record[keySize+32:]) }

// encodePages gives the content of a whole file; the records are sorted.
func encodePages(generation uint32, records [][]byte) []byte {
	pages := (len(records) + pageRecords - 1) / pageRecords
	out := make([]byte, 0, cacheHeader+pages*pageSize)
	out = append(out, cacheMagic...)
	out = binary.BigEndian.AppendUint32(out, generation)
	out = appendCheck(binary.BigEndian.AppendUint64(out, uint64(len(records))), 0)
	for len(records) > 0 {
		from, n := len(out), min(pageRecords, len(records))
		for _, record := range records[:n] {
			out = append(out, record...)
		}
		out = append(out, make([]byte, pageSize-checkSize-n*recordSize)...)
		out, records = appendCheck(out, from), records[n:]
	}
	return out
}

// appendCheck appends the digest of what comes after the first from bytes.
func appendCheck(out []byte, from int) []byte {
	sum := blake3.Sum256(out[from:])
	return append(out, sum[:checkSize]...)
}
