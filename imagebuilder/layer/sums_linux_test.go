package layer

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/treetest"
)

// shared makes two directories with the same large files under other names, in opposite orders.
func shared(t *testing.T) (dirs [2]string) {
	t.Helper()
	dirs = [2]string{t.TempDir(), t.TempDir()}
	for n, names := range [][2]string{{"a", "z"}, {"b", "y"}, {"c", "x"}} {
		first := filepath.Join(dirs[0], names[0])
		randomFile(t, first, int64(n+1)*LargeFileSize+int64(n))
		treetest.Check(t, os.Link(first, filepath.Join(dirs[1], names[1])))
	}
	randomFile(t, filepath.Join(dirs[0], "own"), LargeFileSize)
	return dirs
}

func TestReadTakesTheDigestsOfSharedFilesFromAnotherRead(t *testing.T) {
	dirs := shared(t)
	type reading struct {
		Result
		split string
		sums  map[string][32]byte
	}
	read := func(dir string, sums *Sums) (reading, error) {
		r := reading{sums: map[string][32]byte{}}
		var split bytes.Buffer
		var err error
		r.Result, err = Read(t.Context(), dir, Options{TarSplit: &split, Sums: sums,
			LargeFile: func(name string, sum [32]byte) { r.sums[name] = sum }})
		r.split = split.String()
		return r, err
	}
	for range 5 {
		var sums Sums
		var got [2]reading
		var group errgroup.Group
		for n, dir := range dirs {
			group.Go(func() (err error) { got[n], err = read(dir, &sums); return err })
		}
		treetest.Check(t, group.Wait())
		for n, dir := range dirs {
			want, err := read(dir, nil)
			treetest.Check(t, err)
			if got[n].DiffID != want.DiffID || got[n].Content != want.Content || got[n].split != want.split {
				t.Fatalf("directory %d is read as %+v, alone as %+v", n, got[n], want)
			}
			for name, sum := range want.sums {
				if got[n].sums[name] != sum {
					t.Fatalf("%s has the digest %x, alone %x", name, got[n].sums[name], sum)
				}
			}
		}
		if len(sums.files) != 4 {
			t.Fatalf("there are digests of %d files", len(sums.files))
		}
	}
}

func TestReadEndsWhenTheOneThatItWaitsForDoes(t *testing.T) {
	dirs := shared(t)
	var st unix.Stat_t
	treetest.Check(t, unix.Lstat(filepath.Join(dirs[1], "x"), &st))
	file := &largeFile{dataID{tree.ID(&st), st.Size, st.Mtim}, true}

	var sums Sums
	claimed, mine := sums.claim(file)
	if !mine {
		t.Fatal("somebody has claimed the file")
	}
	close(claimed.done) // without a digest
	if _, err := Read(t.Context(), dirs[1], Options{TarSplit: new(bytes.Buffer), Sums: &sums}); !errors.Is(err,
		errSumLost) {
		t.Errorf("after a failure it is %v", err)
	}

	// What is never settled: the caller has enough.
	sums = Sums{}
	_, _ = sums.claim(file)
	cause := errors.New("the caller has enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	reached := make(chan struct{})
	go func() { <-reached; cancel(cause) }()

	_, err := Read(ctx, dirs[1], Options{TarSplit: new(bytes.Buffer), Sums: &sums, Progress: onceFunc(reached)})
	if !errors.Is(err, cause) {
		t.Errorf("it is %v", err)
	}
	// A read that has failed leaves no claim behind.
	for id, f := range sums.files {
		if id == file.id {
			continue
		}
		select {
		case <-f.done:
		default:
			t.Errorf("a claim on %+v is left", id)
		}
	}
}

// onceFunc closes a channel at the first call.
func onceFunc(c chan struct{}) func(int64) {
	closed := false
	return func(int64) {
		if !closed {
			closed = true
			close(c)
		}
	}
}
