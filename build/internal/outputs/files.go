package outputs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/platforms"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
)

// writeFiles writes an output that holds the files of images: of each in a directory of its own if there are several.
func (b Room) writeFiles(ctx context.Context, spec export.Spec, images []made, meter *progress.Meter) error {
	for _, m := range images {
		dest := spec.Dest
		if len(images) > 1 {
			dest = filepath.Join(dest, strings.ReplaceAll(platforms.FormatAll(m.image.Platform), "/", "_"))
		}
		if err := b.writeFilesOf(ctx, spec.Type, dest, fileOutput{m.files, meter}); err != nil {
			return outputError(dest, err)
		}
	}
	return nil
}

// fileOutput is the root whose files are written, and the meter that counts their bytes.
type fileOutput struct {
	files *rootfs.Root
	meter *progress.Meter
}

func (b Room) writeFilesOf(ctx context.Context, kind export.Type, dest string, from fileOutput) (err error) {
	view, err := b.Roots.View(ctx, from.files, rootfs.NS{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Release()) }()
	write := func(w io.Writer) error {
		return errors.Join(b.tarFiles(ctx, view.Dir, io.MultiWriter(w, from.meter)), b.Roots.CheckStill(from.files))
	}

	if kind == export.TypeTar {
		return export.WriteTar(dest, b.Stdout, write)
	}
	return export.WriteDir(dest, func(dir string) error {
		result, disarmed, err := unpackFrom(ctx, dir, write)
		if err == nil {
			err = fsys.SyncFSAt(dir) // the data is synced before the files get their names
		}
		if err == nil && result.Devices > 0 {
			b.Progress.Emit(progress.Note{Text: fmt.Sprintf("%s: left out %d device nodes; type=tar has them", dest,
				result.Devices)})
		}
		if err == nil && disarmed.Count > 0 {
			b.Progress.Emit(progress.Note{Text: dest + ": " + disarmedText(disarmed)})
		}
		return err
	})
}

// tarFiles writes all files of a root as one archive; view is nil if there are none.
func (b Room) tarFiles(ctx context.Context, view *os.File, w io.Writer) error {
	if view == nil {
		if err := tar.NewWriter(w).Close(); err != nil {
			return fmt.Errorf("write an archive without files: %w", err)
		}
		return nil
	}
	_, err := layer.Read(ctx, fmt.Sprintf("/proc/self/fd/%d", view.Fd()), layer.Options{Tar: w, Date: b.Date})
	return err
}

// disarmedText gives the note about files that have lost set-ID bits or capabilities in a directory, and why.
func disarmedText(d fileop.Disarmed) string {
	names := strings.Join(d.Names, ", ")
	if more := d.Count - int64(len(d.Names)); more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return "set-user-ID and set-group-ID bits and capabilities are taken off, since all files become yours: " + names +
		"; type=tar keeps them"
}

// unpackFrom unpacks the archive that write writes into a directory of the user.
func unpackFrom(ctx context.Context, dir string, write func(io.Writer) error) (fileop.CopyResult, fileop.Disarmed,
	error) {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := guard.Call(func() error { return write(w) })
		_ = w.CloseWithError(err) // it returns no error
		written <- err
	}()
	result, disarmed, err := fileop.UnpackForHost(ctx, r, dir)
	_ = r.CloseWithError(err) // it returns no error
	switch writeErr := <-written; {
	case writeErr == nil, err != nil && errors.Is(writeErr, err): // the writer's error is the reader's
	case errors.Is(err, writeErr):
		err = writeErr // the reader's error is the writer's
	default:
		err = errors.Join(writeErr, err)
	}
	return result, disarmed, err
}
