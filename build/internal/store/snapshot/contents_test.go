package snapshot_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// contents are what steps write, and what their layers have then: on the base with a, b and dir/c.
func contents(b bench) map[string]struct {
	do   func(root string)
	want []string
} {
	in := func(root, name string) string { return filepath.Join(root, name) }
	return map[string]struct {
		do   func(root string)
		want []string
	}{
		"modes": {func(root string) {
			for name, mode := range map[string]uint32{"suid": 0o4755, "sgid": 0o2711, "none": 0} {
				b.must(put(root, name, 0, 0), unix.Chmod(in(root, name), mode))
			}
		}, []string{"none - 0", "sgid - 2711", "suid - 4755"}},
		"links": {func(root string) {
			b.must(put(root, "file", 0, 0), os.Link(in(root, "file"), in(root, "hard")),
				os.Symlink("../../../etc/passwd", in(root, "out")), os.Symlink("loop", in(root, "loop")))
		}, []string{"file - 644", "hard = file", "loop > loop", "out > ../../../etc/passwd"}},
		"names": {func(root string) {
			b.must(put(root, "new\nline", 0, 0), put(root, "\xff\xfe", 0, 0), put(root, strings.Repeat("n", 240), 0, 0),
				put(root, " ", 0, 0))
		}, []string{"  - 644", "new\nline - 644", strings.Repeat("n", 240) + " - 644", "\xff\xfe - 644"}},
		"a pipe": {func(root string) { b.must(unix.Mkfifo(in(root, "pipe"), 0o640), os.Chmod(in(root, "pipe"), 0o640)) },
			[]string{"pipe p 640"}},
		"a file in a directory's place": {func(root string) {
			b.must(os.RemoveAll(in(root, "dir")), put(root, "dir", 0, 0))
		}, []string{"dir - 644"}},
		"a directory in a file's place": {func(root string) {
			b.must(os.Remove(in(root, "a")), os.Mkdir(in(root, "a"), 0o755), put(root, "a/x", 0, 0))
		}, []string{"a/ d 755", "a/x - 644"}},
		"a directory in another's place": {func(root string) {
			b.must(os.RemoveAll(in(root, "dir")), os.Mkdir(in(root, "dir"), 0o700), put(root, "dir/new", 0, 0))
		}, []string{"dir/ d 700", "dir/c gone", "dir/new - 644"}},
		"another mode": {func(root string) { b.must(os.Chmod(in(root, "a"), 0o600)) }, []string{"a - 600"}},
		"a file that is gone": {func(root string) {
			b.must(os.Remove(in(root, "dir/c")))
		}, []string{"dir/ d 700", "dir/c gone"}},
		"nothing after all": {func(root string) {
			b.must(put(root, "x", 0, 0), os.Remove(in(root, "x")), os.Mkdir(in(root, "y"), 0o755), os.Remove(in(root, "y")),
				settle(root))
		}, nil},
	}
}

// TestALayerHasWhatTheStepHasWritten of every kind of file, in every kind of store, and the view of it shows the same.
func TestALayerHasWhatTheStepHasWritten(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		for name, test := range contents(b) {
			s := b.prepare(on(base))
			b.run(s, snapshot.NS{}, test.do)
			res, err := s.Read(t.Context(), snapshot.ReadOptions{})
			b.must(err)
			if res.Empty {
				if len(test.want) > 0 {
					t.Errorf("%s: the layer is empty", name)
				}
				b.must(s.Remove())
				continue
			}
			l, err := s.Commit(t.Context(), top(base))
			b.must(err)
			l.DiffID = res.DiffID
			archive := b.archive(l)
			if got := digest.FromBytes(archive); got != res.DiffID {
				t.Errorf("%s: the layer is given back as %s, and was %s", name, got, res.DiffID)
			}
			if diff := cmp.Diff(test.want, members(t, archive)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
			b.shows(name, base, l, test.want)
		}
	})
}

// members are the entries of an archive but for the root directory, with their kind and mode or what they lead to; a
// whiteout is what it says is gone. An opaque directory counts as one whose files of the base are gone.
func members(t *testing.T, archive []byte) (all []string) {
	t.Helper()
	kinds := map[byte]string{tar.TypeReg: "-", tar.TypeDir: "d", tar.TypeFifo: "p"}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		dir, base := filepath.Split(strings.TrimSuffix(h.Name, "/"))
		switch {
		case h.Name == "./":
		case h.Name == "a/.wh..wh..opq": // it hides nothing: a file is below
		case base == ".wh..wh..opq":
			all = append(all, dir+"c gone")
		case strings.HasPrefix(base, ".wh."):
			all = append(all, dir+strings.TrimPrefix(base, ".wh.")+" gone")
		case h.Typeflag == tar.TypeLink:
			all = append(all, h.Name+" = "+h.Linkname)
		case h.Typeflag == tar.TypeSymlink:
			all = append(all, h.Name+" > "+h.Linkname)
		default:
			all = append(all, fmt.Sprintf("%s %s %o", h.Name, kinds[h.Typeflag], h.Mode&0o7777))
		}
	}
}

// shows checks that a view of the base and the layer has what the layer says.
func (b bench) shows(name string, base []store.Layer, l store.Layer, want []string) {
	b.t.Helper()
	b.view(append(on(base), l.ID), snapshot.NS{}, func(dir string) {
		for _, w := range want {
			var file, rest string
			for _, sep := range []string{" gone", " = ", " > ", " - ", " d ", " p "} {
				if at := strings.LastIndex(w, sep); at >= 0 {
					file, rest = w[:at], w[at:]
					break
				}
			}
			info, err := os.Lstat(filepath.Join(dir, file))
			if gone := rest == " gone"; gone != errors.Is(err, os.ErrNotExist) || err != nil && !gone {
				b.t.Errorf("%s: %q is shown as %v, %v", name, w, info, err)
			}
		}
	})
}

// TestTheLimitOfTimesIsThatOfTheLayer and doesn't touch what is older.
func TestTheLimitOfTimesIsThatOfTheLayer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		limit := time.Unix(1_200_000_000, 0)
		s := b.prepare(on(base))
		b.run(s, snapshot.NS{}, func(root string) {
			b.must(put(root, "old", 0, 0), os.WriteFile(filepath.Join(root, "young"), nil, 0o600))
		})
		res, err := s.Read(t.Context(), snapshot.ReadOptions{Date: &layer.Date{Time: limit}})
		b.must(err)
		l, err := s.Commit(t.Context(), top(base))
		b.must(err)
		l.DiffID = res.DiffID
		archive := b.archive(l)
		if got := digest.FromBytes(archive); got != res.DiffID {
			t.Errorf("the layer is given back as %s, and was %s", got, res.DiffID)
		}
		for r := tar.NewReader(bytes.NewReader(archive)); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			b.must(err)
			want := limit
			if h.Name == "old" {
				want = time.Unix(1_000_000_000, 0)
			}
			if !h.ModTime.Equal(want) {
				t.Errorf("%s is of %s", h.Name, h.ModTime)
			}
		}
	})
}

// TestWhatAReadTellsIsOfTheStepsFiles their bytes, and large ones and sparse ones by name.
func TestWhatAReadTellsIsOfTheStepsFiles(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		s := b.prepare(on(base))
		b.run(s, snapshot.NS{}, func(root string) {
			f, err := os.Create(filepath.Join(root, "sparse"))
			b.must(err, f.Truncate(8<<20), f.Close())
			b.must(os.WriteFile(filepath.Join(root, "large"), bytes.Repeat([]byte("x"), 4<<20), 0o600))
		})
		var told int64
		sparse := map[string]int64{}
		res, err := s.Read(t.Context(), snapshot.ReadOptions{
			Progress: func(n int64) { told += n },
			Sparse: func(name string, size, disk int64) {
				if sparse[name] = size; disk >= size {
					t.Errorf("%s has %d bytes on the disk", name, disk)
				}
			},
		})
		b.must(err)
		if told != res.Size {
			t.Errorf("it was told of %d bytes of %d", told, res.Size)
		}
		if len(sparse) > 1 || sparse["sparse"] != 8<<20 && len(sparse) > 0 {
			t.Errorf("sparse are %v", sparse)
		}
	})
}

// TestTheRootDirectoryIsThatOfTheLayerBelow unless the step changes it.
func TestTheRootDirectoryIsThatOfTheLayerBelow(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, _ []store.Layer) {
		const want = "5:6 711"
		first := b.add(nil, func(root string) {
			b.must(put(root, "f", 0, 0), os.Chown(root, 5, 6), unix.Chmod(root, 0o711), settle(root))
		})
		second := b.add(first, func(root string) { b.must(put(root, "g", 0, 0), settle(root)) })

		// What is put there by a step that sees nothing, or that is made of another layer, changes nothing of it.
		alone, err := b.room.PrepareAlone(t.Context(), on(second))
		b.must(err)
		files, _ := alone.Files()
		b.must(put(files, "h", 0, 0))
		third, res := b.commit(alone, top(second))
		third.DiffID = res.DiffID
		b.must(alone.Remove())
		moved, err := b.room.Chains().PutOn(t.Context(), top(first), third, snapshot.ReadOptions{})
		b.must(err)
		for name, below := range map[string]snapshot.Layers{
			"of a step": on(second), "of a step that sees nothing": append(on(second), third.ID),
			"of a layer on another parent": append(on(first), moved.ID),
		} {
			b.view(below, snapshot.NS{}, func(dir string) {
				attr, err := layer.ReadRootAttr(dir)
				b.must(err)
				if got := fmt.Sprintf("%d:%d %o", attr.UID, attr.GID, attr.Mode&0o7777); got != want {
					t.Errorf("the root directory %s is %s, not %s", name, got, want)
				}
			})
		}
	})
}

// Files may be shared with layers in the store's own directory only: others may belong to somebody else.
func TestAViewTellsWhichOfItsLayersAreTheStoresOwn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b bench, base []store.Layer) {
		two := b.add(base, func(root string) { b.must(put(root, "more", 1, 2)) })
		v, err := b.room.View(t.Context(), on(two), snapshot.NS{})
		b.must(err)
		name := t.Name()
		want, own := 0, 0
		if strings.Contains(name, "/overlay") && !strings.Contains(name, "archives") {
			want, own = 2, 2
			if strings.Contains(name, "another") {
				own = 1
			}
		}
		if len(v.Layers) != want || len(v.Own) != own {
			t.Errorf("of %d layers %d are its own, not %d of %d", len(v.Layers), len(v.Own), own, want)
		}
		b.must(v.Release())
	})
}
