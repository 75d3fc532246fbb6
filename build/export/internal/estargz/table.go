package estargz

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// table is what the blob says of its files. Its fields and those of its entries are those of the format; see
// docs/estargz.md of containerd's stargz-snapshotter.
type table struct {
	Version int     `json:"version"`
	Entries []entry `json:"entries"`
}

// entry is a file, or a further chunk of one. Offset is where in the blob the member with its data begins.
type entry struct {
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Size        int64             `json:"size,omitempty"`
	ModTime     string            `json:"modtime,omitempty"`
	LinkName    string            `json:"linkName,omitempty"`
	Mode        int64             `json:"mode,omitempty"`
	UID         int               `json:"uid,omitempty"`
	GID         int               `json:"gid,omitempty"`
	UserName    string            `json:"userName,omitempty"`
	GroupName   string            `json:"groupName,omitempty"`
	Offset      int64             `json:"offset,omitempty"`
	DevMajor    int               `json:"devMajor,omitempty"`
	DevMinor    int               `json:"devMinor,omitempty"`
	Xattrs      map[string][]byte `json:"xattrs,omitempty"`
	Digest      string            `json:"digest,omitempty"`
	ChunkOffset int64             `json:"chunkOffset,omitempty"`
	ChunkSize   int64             `json:"chunkSize,omitempty"`
	ChunkDigest string            `json:"chunkDigest,omitempty"`
}

// Beginnings of the names of PAX records.
const (
	xattrRecord  = "SCHILY.xattr."
	sparseRecord = "GNU.sparse."
)

// describe makes the entry of a member of the archive.
func describe(h *tar.Header) (entry, error) {
	e := entry{Name: h.Name, Mode: h.Mode, UID: h.Uid, GID: h.Gid, UserName: h.Uname, GroupName: h.Gname}
	if h.ModTime.Unix() != 0 && !h.ModTime.IsZero() {
		e.ModTime = h.ModTime.UTC().Round(time.Second).Format(time.RFC3339)
	}
	for key, value := range h.PAXRecords {
		if strings.HasPrefix(key, sparseRecord) { // the data that a reader gives isn't what the archive has
			return e, fmt.Errorf("%q has holes, which eStargz has no entry for: take compression=gzip or zstd:chunked", h.Name)
		}
		if name, is := strings.CutPrefix(key, xattrRecord); is {
			if e.Xattrs == nil {
				e.Xattrs = map[string][]byte{}
			}
			e.Xattrs[name] = []byte(value)
		}
	}
	switch h.Typeflag {
	case tar.TypeReg:
		e.Type, e.Size = "reg", h.Size
	case tar.TypeDir:
		e.Type = "dir"
	case tar.TypeSymlink:
		e.Type, e.LinkName = "symlink", h.Linkname
	case tar.TypeLink:
		e.Type, e.LinkName = "hardlink", h.Linkname
	case tar.TypeChar, tar.TypeBlock:
		e.Type = map[byte]string{tar.TypeChar: "char", tar.TypeBlock: "block"}[h.Typeflag]
		e.DevMajor, e.DevMinor = int(h.Devmajor), int(h.Devminor)
	case tar.TypeFifo:
		e.Type = "fifo"
	default:
		return e, fmt.Errorf("%q is of a kind (%q) that eStargz has none for: take compression=gzip or zstd:chunked",
			h.Name, h.Typeflag)
	}
	return e, nil
}

// text is the table as the blob has it.
func (t table) text() ([]byte, error) { return json.MarshalIndent(t, "", "\t") }
