package git

import (
	"errors"

	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// ErrNoGit says that the git program isn't installed.
var ErrNoGit = errors.New("the program git is needed for git repositories and isn't installed")

// Room gets trees of repositories, and takes from a directory what is there already.
type Room struct {
	kept *shelf.Dir
	// Program is the name or path of the git program.
	Program string
}

// New gives the room of trees and repositories that are kept in a directory.
func New(kept *shelf.Dir) *Room { return &Room{kept: kept, Program: "git"} }

// Request is what it takes to get the tree that a reference names.
type Request struct {
	// Ref says which repository, which commit and which directory of it; the caller must set it.
	Ref remote.Git
	// SSHAuthSock is the socket of the ssh agent; without it no key is offered to a server.
	SSHAuthSock string
	// KnownHosts are files with the keys of ssh servers; empty: the known_hosts of the user whose home directory HOME
	// names, and the system's.
	KnownHosts []string
	// Secrets looks a secret up by its ID; nil: there is none. It may have GIT_AUTH_TOKEN or GIT_AUTH_HEADER, each also
	// with ".<host>" behind it; they are for https and http.
	Secrets func(id string) (value []byte, ok bool)
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

	hold *shelf.Hold
}

// Release lets the shelf remove the tree. The caller must not use the tree afterwards. Releasing it again does nothing.
func (c *Checkout) Release() error { return c.hold.Release() }
