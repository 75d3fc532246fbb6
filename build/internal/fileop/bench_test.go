package fileop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// manyFiles makes count files of size bytes, 100 to a directory.
func manyFiles(b testing.TB, root string, count, size int) {
	b.Helper()
	data := make([]byte, size)
	for n := range count {
		dir := filepath.Join(root, fmt.Sprintf("d%03d", n/100))
		if n%100 == 0 {
			check(b, os.MkdirAll(dir, 0o755))
		}
		data[0], data[1], data[2] = byte(n), byte(n>>8), byte(n>>16)
		check(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%05d", n)), data, 0o644))
	}
}

// BenchmarkCopy and its cp counterparts copy the same tree. Nothing is removed in between, for ext4 makes files slowly
// where some were removed a moment ago; and all is written back before the clock starts.
func BenchmarkCopy(b *testing.B) {
	for _, c := range []struct {
		name        string
		count, size int
	}{{"10000x4KiB", 10_000, 4096}, {"1x1GiB", 1, 1 << 30}} {
		root := b.TempDir()
		manyFiles(b, root, c.count, c.size)
		b.Run(c.name+"/cooper", func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s := newStage(b)
				unix.Sync()
				b.StartTimer()
				o := s.options(b, []string{"/"}, "/app/")
				o.Source = openRoot(b, root)
				_, err := Copy(b.Context(), o)
				check(b, err)
			}
		})
		b.Run(c.name+"/cp", func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				to := filepath.Join(b.TempDir(), "copy")
				unix.Sync()
				b.StartTimer()
				check(b, exec.Command("cp", "-a", root, to).Run())
			}
		})
	}
}
