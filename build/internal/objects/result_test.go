package objects

import (
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzFirstFile checks that what is read of a result is possible, and the same when it is written and read again.
func FuzzFirstFile(f *testing.F) {
	d := ocispec.Descriptor{Digest: digest.FromString("x"), Size: 1 << 40}
	f.Add(resultOf("manifest.json", d))
	f.Add(append([]byte{9<<3 | 2, 1, 0}, resultOf("", d)...))
	f.Add([]byte{2<<3 | 2, 100, 1})
	f.Add([]byte(`{"outputFiles":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := firstFile(text)
		if err != nil {
			return
		}
		if again, err := firstFile(resultOf("x", got)); err != nil || again.Digest != got.Digest || again.Size != got.Size {
			t.Errorf("%v, %v, %v", got, again, err)
		}
	})
}
