package source

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source/filelist"
)

// maxListed is how many files a Listing names. Of more it has the directories only, and of more of these nothing.
const maxListed = 100_000

// A Listing keeps what Digest has looked at, so that it can be said later which files have changed. It belongs to one
// call.
type Listing struct {
	count atomic.Int64
	tops  []listedTop
}

// listedTop is a source.
type listedTop struct {
	path  string
	entry hashEntry
}

// keep keeps the entries of a directory that is done, as far as there is room for them.
func (l *Listing) keep(d *dirHash) {
	if l.count.Add(int64(len(d.entries))) <= maxListed {
		return
	}
	kept := d.entries[:0]
	for _, e := range d.entries {
		if e.dir != nil && l.count.Load() <= 2*maxListed {
			kept = append(kept, e)
		}
	}
	clear(d.entries[len(kept):])
	d.entries = kept
}

// Text is the listing in the form of package filelist; empty if there is none.
func (l *Listing) Text() string {
	if l == nil {
		return ""
	}
	const usual = 64 // bytes of a line
	text := make([]byte, 0, usual*min(l.count.Load(), maxListed))
	for _, top := range l.tops {
		if top.entry.dir == nil {
			text = filelist.Append(text, top.entry.listed(top.path))
			continue
		}
		text = top.entry.dir.list(text, top.path)
	}
	return string(text)
}

// list adds what is in a directory.
func (d *dirHash) list(text []byte, path string) []byte {
	for _, e := range d.entries {
		at := joinPath(path, e.name)
		text = filelist.Append(text, e.listed(at))
		if e.dir != nil {
			text = e.dir.list(text, at)
		}
	}
	return text
}

// listed is the line of an entry.
func (e hashEntry) listed(path string) filelist.File {
	f := filelist.File{Path: path, Mode: e.mode, UID: e.uid, GID: e.gid, Kind: filelist.Other,
		Sum: [filelist.SumSize]byte(e.sum[:]), Mark: e.mark}
	switch e.kind {
	case unix.DT_REG:
		f.Kind = filelist.Regular
	case unix.DT_DIR:
		f.Kind = filelist.Directory
	case unix.DT_LNK:
		f.Kind = filelist.Link
	}
	if f.Mark == (contentMark{}) {
		f.Mark = contentMark(e.sum[:])
	}
	return f
}

// contentMark is the beginning of a digest of content without attributes; zero: it is that of the digest with them.
type contentMark = [filelist.MarkSize]byte

// markOf gives the mark of a file whose content has the digest data.
func markOf(data, withXattrs hashSum) (m contentMark) {
	if data != withXattrs {
		m = contentMark(data[:])
	}
	return m
}
