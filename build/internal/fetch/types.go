package fetch

import (
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// Errors that callers tell apart.
var (
	// ErrChecksum says that the downloaded content doesn't have the requested checksum.
	ErrChecksum = errors.New("the checksum does not match")
	// ErrNoGit says that the git program isn't installed.
	ErrNoGit = errors.New("the program git is needed for git repositories and isn't installed")
)

// SecretFunc looks a secret up by its ID. Nil is a valid SecretFunc that has none.
type SecretFunc func(id string) (value []byte, ok bool)

// ProgressFunc receives the bytes that have arrived so far and the bytes in all; total is -1 if the server gives none.
type ProgressFunc func(done, total int64)

// HTTPRequest names a file to be downloaded. The caller must set URL.
type HTTPRequest struct {
	// URL is an address of scheme http or https. Credentials in it are sent to its host and nowhere else.
	URL string
	// Checksum is the digest that the content must have, by sha256, sha384 or sha512; empty: any content is accepted.
	Checksum digest.Digest
	// Name is the name for the file; empty: the name in Content-Disposition or else in the path of the URL, or "download"
	// if neither has one.
	Name string
	// Secrets may have HTTP_AUTH_HEADER_<host> (the whole Authorization header) or HTTP_AUTH_TOKEN_<host> (a bearer
	// token).
	Secrets SecretFunc
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

	hold *hold
}

// Release lets the cache remove the file. The caller must not use the file afterwards. Releasing it again does nothing.
func (f *File) Release() error { return f.hold.release() }

// GitRequest is what it takes to get the tree that a reference names.
type GitRequest struct {
	// Ref says which repository, which commit and which directory of it; the caller must set it.
	Ref remote.Git
	// SSHAuthSock is the socket of the ssh agent; without it no key is offered to a server.
	SSHAuthSock string
	// KnownHosts are files with the keys of ssh servers; empty: the known_hosts of the user whose home directory HOME
	// names, and the system's.
	KnownHosts []string
	// Secrets may have GIT_AUTH_TOKEN or GIT_AUTH_HEADER, each also with ".<host>" behind it; they are for https and http.
	Secrets SecretFunc
	// LocalDirs are the directories below which file:// repositories may lie, submodules too; nil: anywhere.
	LocalDirs []string
}

// Checkout is the tree of a commit.
type Checkout struct {
	// Dir is the absolute path of the directory that holds the tree, or of Ref.Subdir in it. Files have mode 0644 or 0755,
	// directories 0755.
	Dir string
	// Commit is the full ID of the commit. Ref is the full name it was found under, such as refs/heads/main; empty if it
	// was named by its ID.
	Commit, Ref string

	hold *hold
}

// Release lets the cache remove the tree. The caller must not use the tree afterwards. Releasing it again does nothing.
func (c *Checkout) Release() error { return c.hold.release() }
