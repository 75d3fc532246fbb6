package layer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cooperbuild/cooper/imagebuilder/layer/merge"
	"github.com/cooperbuild/cooper/internal/tarsplit"
)

// randomFile writes size random bytes.
func randomFile(tb testing.TB, path string, size int64) {
	tb.Helper()
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), size); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
}

func benchmarkRead(b *testing.B, dir string) {
	for b.Loop() {
		if _, err := Read(context.Background(), dir,
			Options{OverlayXattr: "trusted.overlay.", TarSplit: io.Discard}); err != nil {
			b.Fatal(err)
		}
	}
}

const bigFile = 1 << 30

func BenchmarkReadBigFile(b *testing.B) {
	dir := b.TempDir()
	randomFile(b, filepath.Join(dir, "big"), bigFile)
	b.Run("layer", func(b *testing.B) {
		b.SetBytes(bigFile)
		benchmarkRead(b, dir)
	})
	// What no layer reader can be faster than: the diffID is a SHA-256 of as many bytes.
	b.Run("limit-sha256", func(b *testing.B) {
		b.SetBytes(bigFile)
		buf := make([]byte, 1<<20)
		for b.Loop() {
			f, err := os.Open(filepath.Join(dir, "big"))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.CopyBuffer(struct{ io.Writer }{sha256.New()}, struct{ io.Reader }{f}, buf); err != nil {
				b.Fatal(err)
			}
			if err := f.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkReadManyFiles(b *testing.B) {
	dir := b.TempDir()
	for i := range 10_000 {
		sub := filepath.Join(dir, fmt.Sprintf("d%02d", i%100))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		randomFile(b, filepath.Join(sub, fmt.Sprintf("f%04d", i)), 4<<10)
	}
	benchmarkRead(b, dir)
}

func BenchmarkReadOneSmallFile(b *testing.B) {
	dir := b.TempDir()
	randomFile(b, filepath.Join(dir, "f"), 10)
	benchmarkRead(b, dir)
}

func BenchmarkMergeManyFiles(b *testing.B) {
	dir := b.TempDir()
	layer := filepath.Join(dir, "layer")
	for i := range 10_000 {
		sub := filepath.Join(layer, fmt.Sprintf("d%02d", i%100))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		randomFile(b, filepath.Join(sub, fmt.Sprintf("f%04d", i)), 1)
	}
	n := 0
	for b.Loop() {
		dest := filepath.Join(dir, fmt.Sprint("dest", n))
		n++
		if err := os.Mkdir(dest, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := merge.Layers(context.Background(), dest, []string{layer}, "trusted.overlay."); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCRC(b *testing.B) {
	p := make([]byte, contentPiece)
	b.SetBytes(int64(len(p)))
	var c uint64
	for b.Loop() {
		c = tarsplit.CRC(c, p)
	}
}
