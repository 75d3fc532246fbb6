package web

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
	"github.com/cooperbuild/cooper/internal/patience"
)

// ProgressFunc receives the bytes that have arrived so far and the bytes in all; total is -1 if the server gives none.
type ProgressFunc func(done, total int64)

// Room downloads files of URLs, and takes from a directory what is there already.
type Room struct {
	kept *shelf.Dir
	// Limits say how slow a transfer may be before it is given up; the function Now is the clock for that.
	Limits patience.Limits
	Now    func() time.Time
}

// New gives the room of files that are kept in a directory.
func New(kept *shelf.Dir) *Room { return &Room{kept: kept, Limits: patience.Usual(), Now: time.Now} }

// Request names a file to be downloaded. The caller must set URL.
type Request struct {
	// URL is an address of scheme http or https. Credentials in it are sent to its host and nowhere else.
	URL string
	// Checksum is the digest that the content must have, by sha256, sha384 or sha512; empty: any content is accepted.
	Checksum digest.Digest
	// Name is the name for the file; empty: the name in Content-Disposition or else in the path of the URL, or "download"
	// if neither has one.
	Name string
	// Secrets looks a secret up by its ID; nil: there is none. It may have HTTP_AUTH_HEADER_<host> (the whole
	// Authorization header) or HTTP_AUTH_TOKEN_<host> (a bearer token).
	Secrets func(id string) (value []byte, ok bool)
	// Progress is called while bytes arrive; nil: nothing is.
	Progress ProgressFunc
}

// File is a downloaded file.
type File struct {
	// Path is the absolute path of the file, whose last component is Name. Its mode is 0600 and its mtime is ModTime.
	Path, Name string
	// Digest is the content's SHA-256, Size its length in bytes.
	Digest digest.Digest
	Size   int64
	// ModTime is the server's Last-Modified, or 1970-01-01 if it sends none.
	ModTime time.Time

	hold *shelf.Hold
}

// Release lets the shelf remove the file. The caller must not use the file afterwards. Releasing it again does nothing.
func (f *File) Release() error { return f.hold.Release() }
