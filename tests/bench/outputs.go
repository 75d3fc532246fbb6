package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/internal/guard"
)

// An action is what a row measures instead of a build that buildah can do as well: of cooper alone.
type action func(b *bench, s *site, n int) []string

// buildArgs is a build of the row's Containerfile by cooper, with more flags.
func (b *bench) buildArgs(s *site, flags ...string) []string {
	argv := append([]string{b.cooperPath(), "build", "-q", "-t", benchName, "--tls-verify=false", "-f",
		filepath.Join(s.Home, "Containerfile")}, flags...)
	return append(argv, s.Context)
}

const benchName = "localhost/bench:outputs"

// cooperPath is the program that is measured; "" if none is.
func (b *bench) cooperPath() string {
	for _, t := range b.tools {
		if t.name == cooperName {
			return t.version[0]
		}
	}
	return ""
}

func justBuild(b *bench, s *site, _ int) []string { return b.buildArgs(s) }

// archive is a build that writes an OCI archive.
func archive(compression string) action {
	return func(b *bench, s *site, n int) []string {
		return b.buildArgs(s, "-o", fmt.Sprintf("type=oci,dest=%s,compression=%s", filepath.Join(s.Home,
			fmt.Sprintf("out-%d.tar", n)), compression))
	}
}

// pushed is a repository into which nobody has pushed yet.
func (b *bench) pushed(row string, n int) string {
	return fmt.Sprintf("%s/%s%s-%d:latest", b.server.listen.Addr(), pushedMark, row, n)
}

// push pushes what was built.
func push(row string) action {
	return func(b *bench, _ *site, n int) []string {
		return []string{b.cooperPath(), "push", "-q", "--tls-verify=false", benchName, b.pushed(row, n)}
	}
}

// buildAndPush is a build that pushes.
func buildAndPush(row string) action {
	return func(b *bench, s *site, n int) []string {
		return b.buildArgs(s, "--no-cache", "-o", "type=image,push=true,name="+b.pushed(row, n))
	}
}

func pull(image string) action {
	return func(b *bench, _ *site, _ int) []string {
		return []string{b.cooperPath(), "pull", "-q", "--tls-verify=false", b.server.listen.Addr().String() + "/" + image}
	}
}

// copyOnly is a Containerfile that copies the input.
func copyOnly(input string) string { return fmt.Sprintf("%s\nCOPY %s /%s\n", fromBase, input, input) }

// copyAndSleep is one whose last step takes its time.
func copyAndSleep(input string, seconds int) string {
	return fmt.Sprintf("%sRUN sleep %d\n", copyOnly(input), seconds)
}

// copyFromStage is a Containerfile that writes 1 GiB in one stage and copies it to another.
func copyFromStage() string {
	return fmt.Sprintf("%s AS made\nRUN dd if=/dev/zero of=/big bs=1M count=%d 2>/dev/null\n%s\nCOPY --from=made /big /big\n",
		fromBase, fileBytes>>20, fromBase)
}

// outputRows are those of images that leave, and of stages that copy from others.
func outputRows() []row {
	const sleeping = 8
	packs := func(id, work, compression string, l limit) row {
		return row{ID: id, Work: work, Containerfile: copyOnly(inputMixed), Input: inputMixed, Fresh: true,
			Before: []action{justBuild}, Command: archive(compression), Limit: l, Goal: goal{OfLimit: 1.05}}
	}
	return []row{
		{ID: "copyfrom1g", Work: "1 GiB written by a RUN, and COPY --from of it into another stage",
			Containerfile: copyFromStage(), Fresh: true, Limit: writeLimit(), Goal: goal{OfLimit: 1.3, OverBuildah: 2}},
		packs("archive-gzip", "OCI archive in gzip of 500 MB that were built before", "gzip",
			packLimit("pigz -6 -c")),
		packs("archive-zstd", "the same in zstd", "zstd", packLimit("zstd -3 -T0 -q -c")),
		{ID: "archive-again", Work: "the archive in gzip once more: its blobs are kept",
			Containerfile: copyOnly(inputMixed), Input: inputMixed, Fresh: true,
			Before: []action{archive("gzip")}, Command: archive("gzip"), Limit: packLimit("pigz -1 -c"),
			Goal: goal{OfLimit: 0.5}},
		{ID: "archive-base", Work: "pull of the image of row pull, one RUN, and a gzip OCI archive",
			Containerfile: pullAndRun(imageLarge), Image: imageLarge, Fresh: true, Command: archive("gzip"),
			Limit: pullAndKeepLimit(imageLarge), Goal: goal{OfLimit: 1.2}},
		{ID: "push", Work: "push of a new layer of 500 MB in gzip", Containerfile: copyOnly(inputMixed),
			Input: inputMixed, Image: imageBusybox, Fresh: true, Before: []action{justBuild}, Command: push("push"),
			Limit: packLimit("pigz -6 -c"), Goal: goal{OfLimit: 1.1}},
		{ID: "push-early", Work: fmt.Sprintf("build and push of it, whose last step sleeps %d s", sleeping),
			Containerfile: copyAndSleep(inputMixed, sleeping), Input: inputMixed, Image: imageBusybox, Fresh: true,
			Command: buildAndPush("early"), Limit: packWhileLimit(sleeping), Goal: goal{OfLimit: 1.1}},
		{ID: "push-unchanged", Work: "push of an image that the registry has", Containerfile: copyOnly(inputMixed),
			Input: inputMixed, Image: imageBusybox, Fresh: true, Before: []action{justBuild, push("same")},
			Command: push("same"), Limit: startLimit(), Goal: goal{Wall: 60 * time.Millisecond}},
		{ID: "pull-update", Work: "pull of an image whose layer of 100 MiB has changed by 5 %, zstd:chunked, at 2 MiB/s",
			Image: imageChunkedOld, Also: imageChunkedNew, Fresh: true, Before: []action{pull(imageChunkedOld)},
			Command: pull(imageChunkedNew), Limit: partLimit(), Goal: goal{OfLimit: 1.3}},
	}
}

// writeLimit writes what the RUN of copyFromStage does, and hashes it as the layers of both stages have to be.
func writeLimit() limit {
	return limit{"`dd` of 1 GiB, then sha256 of it twice at the same time",
		func(ctx context.Context, b *bench, s *site, n int) error {
			to := filepath.Join(s.Home, fmt.Sprintf("limit-%d", n))
			if _, _, err := s.run(ctx, b.busybox, "dd", "if=/dev/zero", "of="+to, "bs=1M",
				fmt.Sprintf("count=%d", fileBytes>>20)); err != nil {
				return err
			}
			var group errgroup.Group
			for range 2 {
				group.Go(guard.Func(func() error { return hashFile(to) }))
			}
			return group.Wait()
		}}
}

// packLimit compresses the input.
func packLimit(program string) limit {
	return limit{"`" + program + "` of the file, into the same file system",
		func(ctx context.Context, _ *bench, s *site, n int) error {
			_, _, err := s.run(ctx, "sh", "-c", program+` "$0" >"$1"`, filepath.Join(s.Context, inputMixed),
				filepath.Join(s.Home, fmt.Sprintf("limit-%d", n)))
			return err
		}}
}

// packWhileLimit does so while something sleeps.
func packWhileLimit(seconds int) limit {
	pack, sleep := packLimit("pigz -6 -c"), sleepLimit(1, seconds)
	return limit{fmt.Sprintf("%s, and a process that sleeps %d s at the same time", pack.Text, seconds),
		func(ctx context.Context, b *bench, s *site, n int) error {
			var group errgroup.Group
			group.Go(guard.Func(func() error { return pack.Run(ctx, b, s, n) }))
			group.Go(guard.Func(func() error { return sleep.Run(ctx, b, s, n) }))
			return group.Wait()
		}}
}

// pullAndKeepLimit is pullLimit, with the blobs in a file as well.
func pullAndKeepLimit(image string) limit {
	unpack := pullLimit(image)
	return limit{unpack.Text + "; and the blobs into one file", func(ctx context.Context, b *bench, s *site, n int) error {
		urls, err := b.server.layers(image)
		if err != nil {
			return err
		}
		if err := unpack.Run(ctx, b, s, n); err != nil {
			return err
		}
		script := `for u; do "$0" ` + fetchCommand + ` "$u" || exit; done >` + filepath.Join(s.Home, fmt.Sprintf("blobs-%d", n))
		_, _, err = s.run(ctx, append([]string{"sh", "-c", script, b.self}, urls...)...)
		return err
	}}
}

// partLimit fetches as much of the new layer as has changed.
func partLimit() limit {
	return limit{"the first 5 % of the changed layer's blob, at 2 MiB/s",
		func(ctx context.Context, b *bench, _ *site, _ int) (err error) {
			urls, err := b.server.layers(imageChunkedNew)
			if err != nil {
				return err
			}
			last := urls[len(urls)-1]
			blob, err := os.Stat(filepath.Join(b.server.blobs.dir, last[len(last)-sha256.Size*2:]))
			if err != nil {
				return err
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, last, nil) //nolint:gosec // it is the server's
			if err != nil {
				return err
			}
			req.Header.Set("Range", fmt.Sprintf("bytes=0-%d", blob.Size()/changedOneIn))
			resp, err := http.DefaultClient.Do(req) //nolint:gosec // it is the server's
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, resp.Body)
			return errors.Join(err, resp.Body.Close())
		}}
}
