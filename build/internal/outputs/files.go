package outputs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/platforms"
	"golang.org/x/sys/unix"

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
	split := len(images) > 1
	if spec.Split != nil {
		split = *spec.Split
	}
	if spec.Type == export.TypeTar && (split || len(images) > 1) {
		err := export.WriteTar(ctx, spec.Dest, b.Stdout, func(w io.Writer) error {
			return b.tarAll(ctx, spec, images, split, io.MultiWriter(w, meter))
		})
		if err != nil {
			return outputError(spec.Dest, err)
		}
		return nil
	}
	written := map[string]bool{}
	for i, m := range images {
		dest, one := spec.Dest, fileOutput{spec: spec, files: m.files, meter: meter}
		if split {
			dest = filepath.Join(dest, directoryOf(m))
		}
		if !split && len(images) > 1 {
			one.written, one.spec.Delete = written, spec.Delete && i == 0
		}
		if err := b.writeFilesOf(ctx, dest, one); err != nil {
			return outputError(dest, err)
		}
	}
	return nil
}

// directoryOf is the name of the directory that has the files of one of several images.
func directoryOf(m made) string {
	return strings.ReplaceAll(platforms.FormatAll(m.image.Platform), "/", "_")
}

// fileOutput is the root whose files are written, and the meter that counts their bytes.
type fileOutput struct {
	spec  export.Spec
	files *rootfs.Root
	meter *progress.Meter
	// written are the files that images for other platforms have put into the same directory; nil: it is this one's.
	written map[string]bool
}

func (b Room) writeFilesOf(ctx context.Context, dest string, from fileOutput) (err error) {
	view, err := b.Roots.View(ctx, from.files, rootfs.NS{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Release()) }()
	write := func(w io.Writer) error {
		err := b.tarFiles(ctx, view.Dir, from.spec.Source, io.MultiWriter(w, from.meter))
		return errors.Join(err, b.Roots.CheckStill(from.files))
	}

	if from.spec.Type == export.TypeTar {
		return export.WriteTar(ctx, dest, b.Stdout, write)
	}
	return export.WriteDir(dest, from.spec.Delete, func(dir string) error {
		result, disarmed, err := unpackFrom(ctx, dir, write)
		if err == nil && from.written != nil {
			err = noteFiles(dir, from.written)
		}
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

// noteFiles adds the files of a directory to those that are written, and refuses one that another platform has, too.
func noteFiles(dir string, written map[string]bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if written[name] {
			return fmt.Errorf("images for several platforms have %s: platform-split=false has room for one", name)
		}
		written[name] = true
		return nil
	})
}

// tarFiles writes the files of a root, or of a directory in it, as one archive; view is nil if there are none. Links
// to the directory are followed within the root.
func (b Room) tarFiles(ctx context.Context, view *os.File, source string, w io.Writer) error {
	if source != "" && view != nil {
		fd, err := fsys.OpenIn(int(view.Fd()), source, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return fmt.Errorf("src=%s: the image has no such directory: %w", source, err)
		}
		view = os.NewFile(uintptr(fd), source)
		defer func() { _ = view.Close() }()
	} else if source != "" {
		return fmt.Errorf("src=%s: the image has no files", source)
	}
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
