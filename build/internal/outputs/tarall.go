package outputs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/internal/guard"
)

// tarAll writes the files of several images as one archive: with split those of each in a directory of its own, or else
// all in one, where two images must not have the same file.
func (b Room) tarAll(ctx context.Context, spec export.Spec, images []made, split bool, w io.Writer) error {
	all := joined{to: tar.NewWriter(w), written: map[string]bool{}}
	for _, m := range images {
		all.prefix = ""
		if split {
			all.prefix = directoryOf(m) + "/"
			if err := all.to.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: all.prefix, Mode: 0o755}); err != nil {
				return err
			}
		}
		if err := b.tarInto(ctx, spec, m.files, &all); err != nil {
			return err
		}
	}
	return all.to.Close()
}

// tarInto adds the files of a root to an archive.
func (b Room) tarInto(ctx context.Context, spec export.Spec, files *rootfs.Root, all *joined) (err error) {
	view, err := b.Roots.View(ctx, files, rootfs.NS{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Release()) }()
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := guard.Call(func() error { return b.tarFiles(ctx, view.Dir, spec.Source, w) })
		_ = w.CloseWithError(err) // it returns no error
		written <- err
	}()
	err = all.add(r)
	_ = r.CloseWithError(err) // it returns no error
	if wrote := <-written; err == nil || wrote != nil && !errors.Is(wrote, err) && !errors.Is(err, wrote) {
		err = errors.Join(err, wrote)
	}
	return errors.Join(err, b.Roots.CheckStill(files))
}

// joined is an archive of several. written are the members that are in it.
type joined struct {
	to      *tar.Writer
	prefix  string
	written map[string]bool
}

// add adds the members of an archive, below the prefix.
func (j *joined) add(from io.Reader) error {
	members := tar.NewReader(from)
	for {
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, from)
			return err
		}
		if err != nil {
			return err
		}
		name := j.prefix + h.Name
		if j.written[name] {
			if h.Typeflag == tar.TypeDir {
				continue
			}
			return fmt.Errorf("images for several platforms have %s: platform-split=false has room for one", h.Name)
		}
		j.written[name] = true
		h.Name = name
		if h.Typeflag == tar.TypeLink {
			h.Linkname = j.prefix + h.Linkname
		}
		if err := j.to.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(j.to, members); err != nil { //nolint:gosec // what this build writes is what it has made
			return err
		}
	}
}
