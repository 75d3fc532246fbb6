package inputs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cooperbuild/cooper/build/internal/fetch/web"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// Date is the time of the main context: that of a repository's commit, what a server says in Last-Modified, or the
// newest time of a file in an archive. It is nil if the context is a directory, whose times say nothing of what is in
// it, or a Dockerfile without a time. ReadMain must have been called.
func (c *Contexts) Date(ctx context.Context) (*time.Time, error) {
	if c.date == nil {
		return nil, nil //nolint:nilnil // no date is an answer
	}
	date, err := c.date(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the date of the build context: %w", err)
	}
	return &date, nil
}

// dated is the context with the time that the server of a downloaded file has given, if it has.
func (p located) dated(file *web.File) located {
	if at := file.ModTime; at.Unix() > 0 {
		p.date = func(context.Context) (time.Time, error) { return at, nil }
	}
	return p
}

// commitDate gives the date of the commit that ref names. Only files with the commit's time tell it, so a tree of such
// files is made.
func (o opener) commitDate(ref remote.Git) func(ctx context.Context) (time.Time, error) {
	none := false
	ref.CommitTimes, ref.Subdir, ref.KeepGitDir, ref.Submodules, ref.Checksum = true, "", nil, &none, ""
	return func(ctx context.Context) (at time.Time, err error) {
		p, err := o.git(ctx, ref)
		if err != nil {
			return at, err
		}
		defer func() { err = errors.Join(err, p.release()) }()
		info, err := os.Lstat(p.path)
		if err != nil {
			return at, err
		}
		return info.ModTime().UTC(), nil
	}
}

// newest gives the newest time of a file in a directory that was unpacked; directories may have got theirs by that.
func newest(dir string) (latest time.Time, err error) {
	latest = time.Unix(0, 0).UTC()
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.ModTime().After(latest) {
			latest = info.ModTime().UTC()
		}
		return err
	})
	return latest, err
}
