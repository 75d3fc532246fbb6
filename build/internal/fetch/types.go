package fetch

import (
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// Errors that callers tell apart.
var (
	// ErrChecksum says that what came isn't what the checksum names.
	ErrChecksum = errors.New("the checksum does not match")
	// ErrNoGit says that the git program isn't installed.
	ErrNoGit = errors.New("the program git is needed for git repositories and isn't installed")
)

// SecretFunc looks a secret up by its ID. Nil is a valid SecretFunc that has none.
type SecretFunc func(id string) (value []byte, ok bool)

// ProgressFunc is told how many bytes have come and how many there are in all; total is -1 if nobody knows.
type ProgressFunc func(done, total int64)

// HTTPRequest names a file to be downloaded. URL is needed.
type HTTPRequest struct {
	// URL is http or https. Credentials in it are sent to its host and nowhere else.
	URL string
	// Checksum must be that of the content: sha256, sha384 or sha512. Empty: any content will do.
	Checksum digest.Digest
	// Name is what the file is to be called; empty: what Content-Disposition or else the URL's path says, "download" if
	// neither does.
	Name string
	// Secrets may have HTTP_AUTH_HEADER_<host> (the whole Authorization header) or HTTP_AUTH_TOKEN_<host> (a bearer
	// token).
	Secrets SecretFunc
	// Progress may be nil.
	Progress ProgressFunc
}

// File is a downloaded file.
type File struct {
	// Path is absolute; its last component is Name. The file's mode is 0600 and its mtime ModTime.
	Path, Name string
	// Digest is the content's SHA-256, Size its length in bytes.
	Digest digest.Digest
	Size   int64
	// ModTime is what the server says in Last-Modified, else 1970-01-01.
	ModTime time.Time

	hold *hold
}

// Release lets the file go. It must not be used afterwards. Releasing it again does nothing.
func (f *File) Release() error { return f.hold.release() }

// GitRequest is what it takes to get the tree that a reference names.
type GitRequest struct {
	// Ref says which repository, which commit and what of it; it is needed.
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
	// Dir is absolute: the directory that holds the tree, or Ref.Subdir of it. Files have mode 0644 or 0755, directories
	// 0755.
	Dir string
	// Commit is the full ID of the commit. Ref is the full name it was found under, such as refs/heads/main; empty if it
	// was named by its ID.
	Commit, Ref string

	hold *hold
}

// Release lets the tree go. It must not be used afterwards. Releasing it again does nothing.
func (c *Checkout) Release() error { return c.hold.release() }
