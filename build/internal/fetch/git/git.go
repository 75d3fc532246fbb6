package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Tree makes the tree of a repository, or takes it from the shelf. A missing git program is ErrNoGit, a commit that
// doesn't match the checksum of the request is shelf.ErrChecksum. The caller releases the checkout.
func (room *Room) Tree(ctx context.Context, r Request) (*Checkout, error) {
	out, err := room.checkout(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", r.Ref, remote.RedactError(err))
	}
	return out, nil
}

// Settled tells which commit a request names without asking the server; "" if only the server knows.
func (r Request) Settled() string { return r.settled().commit }

func (r Request) settled() found {
	ref := r.Ref.Ref
	switch sum := r.Ref.Checksum; {
	case remote.IsCommit(ref):
		return found{commit: ref, object: ref}
	case r.Ref.ByCommit && remote.IsCommit(sum):
		if ref != "" && !strings.HasPrefix(ref, "refs/") {
			ref = "refs/heads/" + ref // no server is asked, so that the ref is taken for a branch
		}
		return found{commit: sum, object: sum, ref: ref}
	}
	return found{}
}

// check refuses requests whose parts git would misread, such as a ref that looks like an option.
func (r Request) check() error {
	if sum := r.Ref.Checksum; strings.Trim(sum, "0123456789abcdef") != "" {
		return fmt.Errorf("the checksum %s isn't a commit ID, nor the beginning of one", sum)
	}
	if strings.HasPrefix(r.Ref.Remote, "-") {
		return errors.New("a URL can't begin with a dash")
	}
	return remote.CheckRef(r.Ref.Ref)
}

func (room *Room) checkout(ctx context.Context, r Request) (_ *Checkout, err error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	temp, remove, err := room.kept.Temp()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if f := r.settled(); f.commit != "" {
		// The server is not asked, since the tree of a commit never changes.
		if err := f.verify(r.Ref.Checksum); err != nil {
			return nil, err
		}
		if out, err := room.open(ctx, r, f); !errors.Is(err, fs.ErrNotExist) {
			return out, err
		}
	}
	s, err := room.newRepo(r, r.Ref, temp)
	if err != nil {
		return nil, err
	}
	f, release, err := s.obtain(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if out, err := room.open(ctx, r, f); !errors.Is(err, fs.ErrNotExist) {
		return out, err
	}
	whole := filepath.Join(temp, "entry")
	t := tree{top: filepath.Join(whole, "tree"), keep: r.Ref.KeepsGitDir(), temp: temp, ref: r.Ref}
	if err := errors.Join(os.Mkdir(whole, 0o700), os.Mkdir(t.top, 0o755), os.Chmod(t.top, 0o755)); err != nil {
		return nil, err
	}
	if err := t.make(ctx, s, f, release); err != nil {
		return nil, err
	}
	if err := shelf.Describe(ctx, whole, r.Ref.String()); err != nil {
		return nil, err
	}
	if err := room.kept.Publish(ctx, whole, room.kept.Entry(shelf.Trees, r.treeKey(f))); err != nil {
		return nil, err
	}
	return room.open(ctx, r, f)
}

// treeKey is the key of the tree on the shelf, made of all that its content depends on.
func (r Request) treeKey(f found) string {
	if !r.Ref.KeepsGitDir() {
		f.ref, f.object = "", ""
	}
	return shelf.Key(shelf.Key(r.Ref.Remote), f.commit, f.object, f.ref, strconv.FormatBool(r.Ref.KeepsGitDir()),
		strconv.FormatBool(!r.Ref.WithSubmodules()), strconv.FormatBool(r.Ref.CommitTimes))
}

// open opens and holds the tree of a request on the shelf. The error is fs.ErrNotExist if the shelf has none.
func (room *Room) open(ctx context.Context, r Request, f found) (*Checkout, error) {
	entry := room.kept.Entry(shelf.Trees, r.treeKey(f))
	h, err := room.kept.Hold(ctx, entry)
	if err != nil {
		return nil, err
	}
	out := &Checkout{Dir: filepath.Join(entry, "tree", r.Ref.Subdir), Commit: f.commit, Ref: f.ref, hold: h}
	if err := checkSubdir(filepath.Join(entry, "tree"), r.Ref.Subdir); err != nil {
		return nil, errors.Join(err, h.Release())
	}
	return out, nil
}

// checkSubdir refuses a path that is no directory of the tree, or that leads through symbolic links.
func checkSubdir(top, sub string) error {
	if sub == "" {
		return nil
	}
	dir, err := unix.Open(top, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	fd, err := fsys.OpenPlain(dir, sub, unix.O_PATH|unix.O_DIRECTORY)
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("the repository has no directory %s", sub)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV):
		return fmt.Errorf("a symbolic link leads to %s: only a directory itself can be named", sub)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s is not a directory of the repository", sub)
	case err != nil:
		return fmt.Errorf("open %s: %w", sub, err)
	}
	return unix.Close(fd)
}
