package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// settleAge is how old an input must be before it is built from: tools that remember files by their times don't trust
// one that was written a moment ago, and a benchmark of edits within a second would measure something else.
const settleAge = 3 * time.Second

// A bench holds what all rows share. close removes it.
type bench struct {
	config  config
	account account
	dir     string
	// self, cooper and busybox are copies in dir, which the account can run whatever the originals' directories allow.
	self, busybox string
	tools         []tool
	sites         int
	// server has images for rows that pull; nil until the first of them.
	server *server
	// target is what steps connect to; nil until the first row with such steps.
	target *target
}

// newBench makes the account, finds the tools and tries each once.
func newBench(ctx context.Context, c config) (_ *bench, err error) {
	b := &bench{config: c}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.account, err = openAccount(ctx); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp(c.Temp, "cooper-bench-"); err != nil {
		return nil, fmt.Errorf("make directory to measure in: %w", err)
	}
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return nil, fmt.Errorf("open directory to its user: %w", err)
	}
	if b.self, err = b.takeProgram("/proc/self/exe", "bench"); err != nil {
		return nil, err
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("find the static busybox that the base image is made of (contrib/setup.sh installs it): %w",
			err)
	}
	if b.busybox, err = b.takeProgram(busybox, "busybox"); err != nil {
		return nil, err
	}
	if err := b.findTools(ctx); err != nil {
		return nil, err
	}
	if len(b.tools) == 0 {
		return nil, errors.New("find tools: neither cooper nor buildah can be measured")
	}
	return b, nil
}

// findTools appends cooper and, if it works for this user, buildah.
func (b *bench) findTools(ctx context.Context) error {
	if b.config.Cooper != "" {
		path, err := b.takeProgram(b.config.Cooper, "cooper")
		if err != nil {
			return err
		}
		b.tools = append(b.tools, cooperTool(path))
	}
	if b.config.Buildah == "" {
		return nil
	}
	path, err := exec.LookPath(b.config.Buildah)
	if err != nil {
		fmt.Fprintln(os.Stderr, "buildah is not installed: measuring without it")
		return nil
	}
	s, err := b.site(ctx)
	if err != nil {
		return err
	}
	defer closeLoudly(s)
	// Its defaults come first; what follows is for machines where they don't work, as in a container without /dev/net/tun.
	var failure error
	for _, flags := range [][]string{nil, {"--network=host"}, {"--runtime=runc", "--network=host"},
		{"--isolation=chroot"}} {
		t := buildahTool(path, flags)
		if failure = b.makeBase(ctx, s, t); failure == nil {
			b.tools = append(b.tools, t)
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	fmt.Fprintf(os.Stderr, "buildah does not work here: measuring without it: %v\n", failure)
	return nil
}

// takeProgram copies a program to where the account can run it.
func (b *bench) takeProgram(from, name string) (_ string, err error) {
	in, err := os.Open(from)
	if err != nil {
		return "", fmt.Errorf("read program to measure: %w", err)
	}
	defer in.Close()
	to := filepath.Join(b.dir, name)
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return "", fmt.Errorf("copy program to measure: %w", err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return "", fmt.Errorf("copy program to measure: %w", err)
	}
	return to, nil
}

// site makes a site with the base image's program in it.
func (b *bench) site(ctx context.Context) (*site, error) {
	b.sites++
	s, err := newSite(ctx, b.dir, b.sites, b.account)
	if err != nil {
		return nil, err
	}
	if err := s.write(filepath.Join(s.Home, "base", "Containerfile"), baseContainerfile); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if _, _, err := s.run(ctx, "cp", b.busybox, s.tempDir()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := os.Rename(filepath.Join(s.tempDir(), "busybox"), filepath.Join(s.Home, "base", "busybox")); err != nil {
		return nil, errors.Join(fmt.Errorf("place busybox: %w", err), s.close())
	}
	return s, nil
}

// serve has the server offer an image.
func (b *bench) serve(ctx context.Context, image string) (err error) {
	if b.server == nil {
		if b.server, err = newServer(ctx, b.dir); err != nil {
			return err
		}
	}
	if _, ok := b.server.images[image]; ok {
		return nil
	}
	// In a process of its own: what this one takes counts as the peak of those that it starts.
	text, err := exec.CommandContext(ctx, b.self, imageCommand, image, b.busybox, b.server.blobs.dir).Output()
	if err != nil {
		return fmt.Errorf("make the image %s: %w", image, err)
	}
	var d ocispec.Descriptor
	if err := json.Unmarshal(text, &d); err != nil {
		return fmt.Errorf("make the image %s: %w", image, err)
	}
	b.server.offer(image, d)
	if image == imageChunkedNew {
		urls, err := b.server.layers(image)
		if err != nil {
			return err
		}
		last := urls[len(urls)-1]
		b.server.slow[last[len(last)-sha256.Size*2:]] = true
	}
	return nil
}

// makeBase builds localhost/busybox with the tool, in the tool's own store.
func (b *bench) makeBase(ctx context.Context, s *site, t tool) error {
	dir := filepath.Join(s.Home, "base")
	_, _, err := s.run(ctx,
		t.build(s, build{dir: dir, file: filepath.Join(dir, "Containerfile"), tag: "localhost/busybox:latest"})...)
	return err
}

func (b *bench) close() {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	err := b.account.close(ctx)
	if b.server != nil {
		err = errors.Join(err, b.server.close())
	}
	if b.target != nil {
		err = errors.Join(err, b.target.close())
	}
	if b.dir != "" {
		err = errors.Join(err, os.RemoveAll(b.dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: clean up:", err)
	}
}

func closeLoudly(s *site) {
	if err := s.close(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: clean up:", err)
	}
}

// wait sleeps, or returns early with the cause if the context ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
