package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// found is what a ref of a remote repository leads to at the time of asking.
type found struct {
	// commit is the full ID; empty for an abbreviated one that hasn't been looked up yet.
	commit string
	// object is the ID of the annotated tag that names the commit; without such a tag it is the commit's.
	object string
	// ref is the full name of the ref, such as refs/heads/main; empty if the commit was named by its ID.
	ref string
}

// verify compares the ID of the commit or of its tag with a checksum.
func (f found) verify(checksum string) error {
	if strings.HasPrefix(f.commit, checksum) || strings.HasPrefix(f.object, checksum) {
		return nil
	}
	return fmt.Errorf("%w: expected commit %s, got %s", shelf.ErrChecksum, checksum, f.commit)
}

// obtain finds the commit and makes sure that the shelf has its files. Until release is called nobody else uses the
// repository.
func (s *repo) obtain(ctx context.Context) (f found, release func() error, err error) {
	if err = s.checkConfig(ctx); err != nil {
		return f, nil, err
	}
	if f, err = s.resolve(ctx); err != nil {
		return f, nil, err
	}
	checksum := s.r.Ref.Checksum
	if f.commit != "" {
		if err := f.verify(checksum); err != nil {
			return f, nil, err
		}
	}
	format := ""
	if len(f.object) == 64 {
		format = "--object-format=sha256"
	}
	entry := s.room.kept.Entry(shelf.Repos, shelf.Key(s.id, format))
	lock, err := s.room.kept.Own(ctx, entry)
	if err != nil {
		return f, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Release())
		}
	}()
	if err = s.open(ctx, entry, format); err != nil {
		return f, nil, err
	}
	if f.commit == "" {
		if f, err = s.lookUp(ctx); err != nil {
			return f, nil, err
		}
	}
	if !s.has(ctx, f) {
		if err = errors.Join(s.fetch(ctx, f), shelf.Describe(ctx, entry, remote.Redact(s.r.Ref.Remote))); err != nil {
			return f, nil, err
		}
	}
	// A full ID that the user gave may be a tag's.
	id, err := s.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", f.object+"^{commit}")
	if err != nil {
		return f, nil, fmt.Errorf("%s is no commit of the repository", f.object)
	}
	f.commit = strings.TrimSpace(id)
	if err = f.verify(checksum); err != nil {
		return f, nil, err
	}
	return f, lock.Release, nil
}

// resolve asks the server for the ref.
func (s *repo) resolve(ctx context.Context) (found, error) {
	if f := s.r.settled(); f.commit != "" {
		return f, nil
	}
	if s.r.Ref.Ref == "" {
		return s.defaultBranch(ctx)
	}
	ref := s.r.Ref.Ref
	out, err := s.git(ctx, "ls-remote", "--", s.url, ref, ref+"^{}")
	if err != nil {
		return found{}, err
	}
	ids := map[string]string{}
	for line := range strings.Lines(out) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if remote.IsCommit(id) {
			ids[name] = id
		}
	}
	for _, name := range []string{
		ref, "refs/" + strings.TrimPrefix(ref, "refs/"), "refs/heads/" + strings.TrimPrefix(ref, "refs/heads/"),
		"refs/tags/" + strings.TrimPrefix(ref, "refs/tags/"),
	} {
		if ids[name] == "" {
			continue
		}
		f := found{commit: ids[name], object: ids[name], ref: name}
		if peeled := ids[name+"^{}"]; peeled != "" {
			f.commit = peeled
		}
		return f, nil
	}
	if remote.IsAbbreviated(ref) {
		return found{}, nil
	}
	return found{}, fmt.Errorf("the repository has no branch, tag or ref %s", ref)
}

func (s *repo) defaultBranch(ctx context.Context) (found, error) {
	out, err := s.git(ctx, "ls-remote", "--symref", "--", s.url, "HEAD")
	if err != nil {
		return found{}, err
	}
	var f found
	for line := range strings.Lines(out) {
		what, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if name != "HEAD" {
			continue
		}
		if branch, ok := strings.CutPrefix(what, "ref: "); ok && strings.HasPrefix(branch, "refs/") &&
			remote.CheckRef(branch) == nil {
			f.ref = branch
		} else if remote.IsCommit(what) {
			f.commit, f.object = what, what
		}
	}
	if f.commit == "" {
		return found{}, errors.New("the repository has no default branch: name a branch, a tag or a commit after #")
	}
	return f, nil
}

// open makes the bare repository if it isn't there.
func (s *repo) open(ctx context.Context, entry, format string) error {
	s.dir = filepath.Join(entry, "repo.git")
	if _, err := os.Lstat(filepath.Join(s.dir, "ready")); err == nil {
		// A git that was killed may have left its lock files.
		return errors.Join(os.RemoveAll(filepath.Join(s.dir, "shallow.lock")),
			os.RemoveAll(filepath.Join(s.dir, "packed-refs.lock")))
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	args := []string{"init", "--quiet", "--bare", "--template="}
	if format != "" {
		args = append(args, format)
	}
	if _, err := s.git(ctx, args...); err != nil {
		return err
	}
	if err := fsys.SyncFSAt(s.dir); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "ready"), nil, 0o600)
}

// mark is the ref that says that all of an object has been fetched.
func mark(object string) string { return "refs/cooper/" + object }

func (s *repo) has(ctx context.Context, f found) bool {
	out, err := s.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", mark(f.object))
	return err == nil && strings.TrimSpace(out) == f.object
}

// fetch gets the commit without its history, or with its history from servers that can't leave it out.
func (s *repo) fetch(ctx context.Context, f found) error {
	base := []string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head"}
	_, err := s.git(ctx, append(base, "--depth=1", "--", s.url, f.object)...)
	if failed := new(gitError); errors.As(err, &failed) && !s.r.Ref.ByCommit {
		for _, reason := range []string{"not our ref", "unadvertised object", "--depth", "shallow",
			"does not allow request for"} {
			if strings.Contains(failed.stderr, reason) {
				err = s.fetchAll(ctx)
				break
			}
		}
	}
	if err != nil {
		return err
	}
	if _, err := s.git(ctx, "cat-file", "-e", "--end-of-options", f.object); err != nil {
		return fmt.Errorf("the repository has no commit %s", f.object)
	}
	// The objects are synced before they are marked: marked ones aren't checked again, and git trusts objects that a
	// power cut has emptied.
	if err := fsys.SyncFSAt(s.dir); err != nil {
		return err
	}
	_, err = s.git(ctx, "update-ref", mark(f.object), f.object)
	return err
}

// fetchAll gets everything that branches, tags and other refs lead to.
func (s *repo) fetchAll(ctx context.Context) error {
	args := []string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--prune"}
	if _, err := os.Lstat(filepath.Join(s.dir, "shallow")); err == nil {
		args = append(args, "--unshallow")
	}
	_, err := s.git(ctx, append(args, "--", s.url, "+refs/*:refs/all/*")...)
	return err
}

// lookUp completes an abbreviated commit ID, for which the whole history is needed.
func (s *repo) lookUp(ctx context.Context) (found, error) {
	abbreviated := s.r.Ref.Ref
	if err := s.fetchAll(ctx); err != nil {
		return found{}, err
	}
	out, err := s.git(ctx, "rev-parse", "--verify", "--end-of-options", abbreviated+"^{commit}")
	if failed := new(gitError); errors.As(err, &failed) && strings.Contains(failed.stderr, "ambiguous") {
		return found{}, fmt.Errorf("more than one commit begins with %s", abbreviated)
	}
	id := strings.TrimSpace(out)
	if err != nil || !strings.HasPrefix(id, abbreviated) {
		return found{}, fmt.Errorf("the repository has no branch, tag or commit %s", abbreviated)
	}
	return found{commit: id, object: id}, nil
}
