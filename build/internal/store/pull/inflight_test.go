package pull_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/registry/content"
)

// stalling is a source that gives half of each blob and then nothing, until nobody wants more. bad gives what it likes
// of one blob, when others have begun.
type stalling struct {
	*origin
	blob  digest.Digest
	bad   func(text []byte) io.Reader
	begun chan struct{}
	// kept are the blobs that are small enough to be given whole: manifest and config.
	kept int64
}

var _ content.Fetcher = (*stalling)(nil)

func (s *stalling) Fetch(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	text := s.content[d.Digest]
	switch {
	case d.Digest == s.blob:
		<-s.begun
		return io.NopCloser(s.bad(text)), nil
	case d.Size < s.kept:
		return io.NopCloser(bytes.NewReader(text)), nil
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(text[:len(text)/2]), &stall{ctx, s.begun})), nil
}

// stall gives nothing until its context ends.
type stall struct {
	ctx   context.Context //nolint:containedctx // io.Reader has no parameter for it
	begun chan struct{}
}

func (s *stall) Read([]byte) (int, error) {
	select {
	case s.begun <- struct{}{}:
	case <-s.ctx.Done():
	}
	<-s.ctx.Done()
	return 0, context.Cause(s.ctx)
}

// noise is a layer that can't be compressed.
func noise(t *testing.T, seed byte) layerBlob {
	t.Helper()
	data := make([]byte, 20<<10)
	source := rand.NewChaCha8([32]byte{seed})
	_, _ = source.Read(data) // it never fails
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range 4 {
		h := tar.Header{Name: fmt.Sprintf("%d/%d", seed, i), Mode: 0o644, Size: int64(len(data))}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text := b.Bytes()
	return layerBlob{text, zipped(text)}
}

// TestOneBadLayerEndsTheOthers has a layer fail while others are under way and stand still.
func TestOneBadLayerEndsTheOthers(t *testing.T) {
	for name, test := range map[string]struct {
		bad  func(text []byte) io.Reader
		says string
	}{
		"too little": {func(text []byte) io.Reader { return bytes.NewReader(text[:len(text)-9]) }, "says that it has"},
		"too much": {func(text []byte) io.Reader { return bytes.NewReader(append(bytes.Clone(text), 'x')) },
			"says that it has"},
		"wrong bytes": {func(text []byte) io.Reader {
			wrong := bytes.Clone(text)
			wrong[len(wrong)-1] ^= 1
			return bytes.NewReader(wrong)
		}, "gzip: invalid"},
		"an error": {func([]byte) io.Reader { return &failing{} }, "the cable is cut"},
		"a panic":  {func([]byte) io.Reader { return panicking{} }, "internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			d := storetest.Open(t, store.Options{Driver: "overlay"})
			o := newOrigin()
			var layers []layerBlob
			for i := range 10 {
				layers = append(layers, noise(t, byte(i)))
			}
			root := o.image(layers...)
			src := &stalling{origin: o, blob: digest.FromBytes(layers[2].blob), bad: test.bad, begun: make(chan struct{}),
				kept: 10 << 10}
			before := left(t, d.Store.Paths().Root)
			_, err := d.Pull.Copy(t.Context(), src, root, copyOptions("example.test/bad:1"))
			if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "layer 3 of 10") ||
				errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %q of layer 3 alone", err, test.says)
			}
			if after := left(t, d.Store.Paths().Root); len(after) != len(before) {
				t.Errorf("left: %v", after)
			}
			if running := goroutines(); running != "" {
				t.Errorf("still running:\n%s", running)
			}
		})
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the cable is cut") }

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("a bug") }

// goroutines gives the stacks of the goroutines that copy images.
func goroutines() string {
	buf := make([]byte, 4<<20)
	var found []string
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "store/unpack.") || strings.Contains(stack, "store/pull.(") {
			found = append(found, stack)
		}
	}
	return strings.Join(found, "\n\n")
}
