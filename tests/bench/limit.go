package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// bufferBytes is small enough that a limit's own memory doesn't count, and large enough that its system calls don't.
const bufferBytes = 256 << 10

// A limit does what a row's work needs, whoever does it, and no more.
type limit struct {
	// Text says what it does, for the report.
	Text string
	// Run does it once in the site; n is different in each run.
	Run func(ctx context.Context, b *bench, s *site, n int) error
}

// measure runs the limit and then flushes the site, which says what the same work costs when it has to be durable.
func (l limit) measure(ctx context.Context, b *bench, s *site, n int) (sample, error) {
	started := time.Now()
	err := l.Run(ctx, b, s, n)
	took := sample{Wall: time.Since(started)}
	if err != nil {
		return took, err
	}
	flush, err := s.settle()
	took.Durable = took.Wall + flush
	return took, err
}

// processorTime is what all processes that this one has started and waited for have worked for so far, and what they
// had worked for them. What this process does itself, as a server or as a limit, isn't in it.
func processorTime() time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func startLimit() limit {
	return limit{"start a Go program that ends at once", func(ctx context.Context, b *bench, s *site, _ int) error {
		_, _, err := s.run(ctx, b.self, nopCommand)
		return err
	}}
}

func runsLimit(n int) limit {
	return limit{fmt.Sprintf("start busybox's true %d times in new namespaces", n),
		func(ctx context.Context, b *bench, s *site, _ int) error {
			return s.namespaced(ctx, n, b.busybox, "true")
		}}
}

func sleepLimit(n, seconds int) limit {
	return limit{fmt.Sprintf("%d processes that sleep %d s at the same time", n, seconds),
		func(ctx context.Context, b *bench, s *site, _ int) error {
			errs := make([]error, n)
			var group sync.WaitGroup
			for i := range n {
				group.Go(func() { errs[i] = s.namespaced(ctx, 1, b.busybox, "sleep", fmt.Sprint(seconds)) })
			}
			group.Wait()
			return errors.Join(errs...)
		}}
}

func copyTreeLimit() limit {
	return limit{"`cp -a` into the same file system, then a tar stream of the copy through sha256",
		func(ctx context.Context, _ *bench, s *site, n int) error {
			to := filepath.Join(s.Home, fmt.Sprintf("limit-%d", n))
			if _, _, err := s.run(ctx, "cp", "-a", filepath.Join(s.Context, inputTree), to); err != nil {
				return err
			}
			return tarTree(sha256.New(), to)
		}}
}

func copyFileLimit() limit {
	return limit{"`cp` into the same file system, then sha256 of the copy",
		func(ctx context.Context, _ *bench, s *site, n int) error {
			to := filepath.Join(s.Home, fmt.Sprintf("limit-%d", n))
			if _, _, err := s.run(ctx, "cp", filepath.Join(s.Context, inputFile), to); err != nil {
				return err
			}
			return hashFile(to)
		}}
}

func lookLimit() limit {
	return limit{"start a Go program that ends at once, and lstat of every file of the context",
		func(ctx context.Context, b *bench, s *site, n int) error {
			if err := startLimit().Run(ctx, b, s, n); err != nil {
				return err
			}
			return filepath.WalkDir(s.Context, func(_ string, entry fs.DirEntry, err error) error {
				if err == nil {
					_, err = entry.Info()
				}
				return err
			})
		}}
}

// pullLimit unpacks all layers of an image of the server at the same time, and flushes them once.
func pullLimit(image string) limit {
	unpacker := "pigz -dc"
	if image == imageZstd {
		unpacker = "zstd -dcq"
	}
	return limit{"all blobs at once, each through `" + unpacker + "` and `tar` into a directory of its own, then one syncfs",
		func(ctx context.Context, b *bench, s *site, n int) error {
			urls, err := b.server.layers(image)
			if err != nil {
				return err
			}
			var group errgroup.Group
			for i, url := range urls {
				to := filepath.Join(s.Home, fmt.Sprintf("limit-%d-%d", n, i))
				group.Go(func() error {
					_, _, err := s.run(ctx, "sh", "-c", `mkdir "$2" && "$0" `+fetchCommand+` "$1" | `+unpacker+` | tar -x -C "$2"`,
						b.self, url, to)
					return err
				})
			}
			if err := group.Wait(); err != nil {
				return err
			}
			_, err = s.settle()
			return err
		}}
}

// tarTree writes the tree as a tar stream, in the order of its names.
func tarTree(w io.Writer, root string) error {
	archive := tar.NewWriter(w)
	buffer := make([]byte, bufferBytes)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		header, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		header.Name, err = filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		return copyFile(archive, path, buffer)
	})
	if err := errors.Join(err, archive.Close()); err != nil {
		return fmt.Errorf("archive tree: %w", err)
	}
	return nil
}

func copyFile(w io.Writer, path string, buffer []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read copy: %w", err)
	}
	defer f.Close()
	// The wrappers hide ReadFrom and WriteTo, which would make buffers of their own for each file.
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, buffer); err != nil {
		return fmt.Errorf("read copy: %w", err)
	}
	return nil
}

func hashFile(path string) error { return copyFile(sha256.New(), path, make([]byte, bufferBytes)) }
