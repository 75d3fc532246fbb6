package pull_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

// TestABlobThatHasComeCanBeKept in a context that goes on: reading, which ends with the last byte, has one of its own.
func TestABlobThatHasComeCanBeKept(t *testing.T) {
	d, src := storetest.Open(t, store.Options{Driver: "overlay"}), newOrigin()
	good := gzipLayer("a")
	o := copyOptions("example.test/app:1")
	kept := 0
	o.Keep = func(ctx context.Context, d ocispec.Descriptor, f *os.File) {
		kept++
		text, err := io.ReadAll(io.NewSectionReader(f, 0, d.Size))
		if err != nil || !bytes.Equal(text, good.blob) || d.Digest != digest.FromBytes(good.blob) {
			t.Errorf("%s is given as %d bytes: %v", d.Digest, len(text), err)
		}
		if ctx.Err() != nil {
			t.Errorf("it can't be kept: %v", context.Cause(ctx))
		}
	}
	if _, err := d.Pull.Copy(t.Context(), src, src.image(good), o); err != nil {
		t.Fatal(err)
	}
	if kept != 1 {
		t.Errorf("%d blobs were given to be kept", kept)
	}
}
