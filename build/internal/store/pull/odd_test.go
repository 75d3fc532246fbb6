package pull_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

// member is one of an archive: "d NAME", "l NAME TARGET" for a hard link, "s NAME TARGET" for a symbolic one, "f NAME
// TEXT", with ":MODE" after the kind.
type member string

func oddTar(members ...member) layerBlob {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		words := strings.SplitN(string(m), " ", 3)
		kind, mode, _ := strings.Cut(words[0], ":")
		h := tar.Header{Name: words[1], Mode: 0o755, Typeflag: map[string]byte{"d": tar.TypeDir, "l": tar.TypeLink,
			"s": tar.TypeSymlink, "f": tar.TypeReg}[kind]}
		if mode != "" {
			if _, err := fmt.Sscanf(mode, "%o", &h.Mode); err != nil {
				panic(err)
			}
		}
		text := ""
		if len(words) == 3 && kind == "f" {
			text, h.Size = words[2], int64(len(words[2]))
		} else if len(words) == 3 {
			h.Linkname = words[2]
		}
		if err := w.WriteHeader(&h); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return layerBlob{b.Bytes(), zipped(b.Bytes())}
}

// shown lists a layer and what is below it: a path with the mode of a directory, the text of a file or the target of a
// link.
func shown(t *testing.T, s *depot.Depot, id string) []string {
	t.Helper()
	dir, unmount, err := s.Store.MountLayer(id)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%o", info.Mode().Perm())
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what = string(text)
		} else if info.Mode()&fs.ModeSymlink != 0 {
			if what, err = os.Readlink(path); err != nil {
				return err
			}
		}
		all = append(all, strings.TrimPrefix(path, dir+"/")+" "+what)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := unmount(); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestOddLayersAreUnpackedAsTheirMembersSay copies images whose top layer the storage library refuses on overlay.
func TestOddLayersAreUnpackedAsTheirMembersSay(t *testing.T) {
	umask := unix.Umask(0) // as in cooper, which gives each file its mode itself
	t.Cleanup(func() { unix.Umask(umask) })
	below := oddTar("d low", "f low/file lower", "d low/dir", "f low/dir/x x", "s lowlink low")
	untouched := []string{"low 755", "low/dir 755", "low/dir/x x", "low/file lower", "lowlink low"}
	for _, c := range []struct {
		name    string
		members []member
		// want is what there is besides untouched, without what is gone.
		want, gone []string
		// twice says that a path comes twice, or that what the layer has itself is hidden, which vfs can't keep.
		twice bool
	}{
		{"hard link to a layer below", []member{"d new", "l new/hard low/file"}, []string{"new 755", "new/hard lower"}, nil,
			false},
		{"hard links to one file below", []member{"l hard /low/file", "l hard2 hard"}, []string{"hard lower", "hard2 lower"},
			nil, false},
		{"hard link through a link below", []member{"l hard lowlink/file"}, []string{"hard lower"}, nil, false},
		{"hard link to a link below", []member{"l hard lowlink"}, []string{"hard low"}, nil, false},
		{"file twice", []member{"f a one", "f a two"}, []string{"a two"}, nil, true},
		{"file twice and differently written", []member{"f a one", "f ./a one"}, []string{"a one"}, nil, true},
		{"linked file replaced", []member{"f a one", "l b a", "l c b", "f a two"}, []string{"a two", "b one", "c one"}, nil,
			true},
		{"directory twice", []member{"d:700 d", "f d/x 1", "d:751 d"}, []string{"d 751", "d/x 1"}, nil, true},
		{"file and then directory", []member{"f low/dir one", "d:700 low/dir", "f low/dir/y y"},
			[]string{"low/dir 700", "low/dir/y y"}, []string{"low/dir 755", "low/dir/x x"}, true},
		{"directory and then file", []member{"d a", "f a/x x", "f a one"}, []string{"a one"}, nil, true},
		{"link twice", []member{"s a low", "s a lowlink"}, []string{"a lowlink"}, nil, true},
		{"whiteout after its file", []member{"f low/file new", "f low/.wh.file"}, nil, []string{"low/file lower"}, true},
		{"whiteout after its directory", []member{"d low/dir", "f low/dir/y y", "f low/.wh.dir"}, nil,
			[]string{"low/dir 755", "low/dir/x x"}, true},
		{"whiteout twice", []member{"f low/.wh.file", "f low/.wh.file"}, nil, []string{"low/file lower"}, true},
		{"whiteout before a directory", []member{"f low/.wh.dir", "d:711 low/dir", "f low/dir/y y"},
			[]string{"low/dir 711", "low/dir/y y"}, []string{"low/dir 755", "low/dir/x x"}, false},
		{"whiteout before a file below", []member{"f low/.wh.dir", "f low/dir/y y"}, []string{"low/dir/y y"},
			[]string{"low/dir/x x"}, false},
		{"directories that no member is", []member{"f a/b/c one", "f a/b/c two", "f low/more/d d"},
			[]string{"a 755", "a/b 755", "a/b/c two", "low/more 755", "low/more/d d"}, nil, true},
		{"root twice", []member{"d:711 ./", "d:755 ./", "f a a"}, []string{"a a"}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := slices.DeleteFunc(append(slices.Clone(untouched), c.want...),
				func(s string) bool { return slices.Contains(c.gone, s) })
			slices.Sort(want)
			for _, driver := range []string{"overlay", "vfs"} {
				s, src, odd := storetest.Open(t, store.Options{Driver: driver}), newOrigin(), oddTar(c.members...)
				img, err := s.Pull.Copy(t.Context(), src, src.image(below, odd), copyOptions("example.test/app:1"))
				if driver == "vfs" && c.twice {
					if err == nil || !strings.Contains(err.Error(), "and the storage driver vfs can't keep that") &&
						!strings.Contains(err.Error(), "layer 2 of 2") {
						t.Errorf("vfs: %v", err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", driver, err)
					continue
				}
				got := shown(t, s, img.Layers[1].ID)
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: want (-), got (+):\n%s", driver, diff)
				}
				checkArchive(t, s, img.Layers[1], odd)
				// The same layer on others is read out of the store.
				img, err = s.Pull.Copy(t.Context(), src, src.image(gzipLayer("other"), below, odd),
					copyOptions("example.test/app:2"))
				if err != nil {
					t.Errorf("%s, again: %v", driver, err)
					continue
				}
				checkArchive(t, s, img.Layers[2], odd)
			}
		})
	}
}

// TestAnOddLayersRootHasTheLastMembersAttributes, of which the storage library would drop all.
func TestAnOddLayersRootHasTheLastMembersAttributes(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, uid := range []int{1, 3} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o2711, Uid: uid, Gid: uid + 1,
			ModTime: time.Unix(int64(i+1000), 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s, src := storetest.Open(t, store.Options{Driver: "overlay"}), newOrigin()
	img, err := s.Pull.Copy(t.Context(), src, src.image(layerBlob{b.Bytes(), zipped(b.Bytes())}),
		copyOptions("example.test/app:1"))
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := library.Of(s.Store.Parts().Library).Directories(img.Layers[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"pulled", "mounted"} {
		var st unix.Stat_t
		if err := unix.Stat(dirs.Upper, &st); err != nil {
			t.Fatal(err)
		}
		if st.Uid != 3 || st.Gid != 4 || st.Mode&0o7777 != 0o2711 || st.Mtim.Sec != 1001 {
			t.Errorf("%s: the root is of %d:%d, %o, %d", when, st.Uid, st.Gid, st.Mode&0o7777, st.Mtim.Sec)
		}
		_, unmount, err := s.Store.MountLayer(img.Layers[0].ID) // the driver gives the directory to root for that
		if err := errors.Join(err, unmount()); err != nil {
			t.Fatal(err)
		}
	}
}

// checkArchive reads the archive that a layer came in.
func checkArchive(t *testing.T, s *depot.Depot, l store.Layer, want layerBlob) {
	t.Helper()
	rc, err := s.Store.LayerTar(l)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(rc)
	if err := rc.Close(); err != nil {
		t.Error(err)
	}
	if err != nil || digest.FromBytes(got) != digest.FromBytes(want.tar) || l.Size != int64(len(want.tar)) {
		t.Errorf("%s: %d bytes are given back, %d recorded, %d came: %v", s.Store.Driver(), len(got), l.Size, len(want.tar),
			err)
	}
}

func TestOddLayersLeadNowhereElse(t *testing.T) {
	below := oddTar("d low", "f low/file lower", "s out /etc", "s up ../../../..", "d low/dir")
	for name, members := range map[string][]member{
		"hard link out of the image": {"l h ../../../../../../../../etc/passwd"},
		"hard link over a link out":  {"l h out/passwd"},
		"hard link over a link up":   {"l h up/etc/passwd"}, "hard link to nothing": {"l h no/such"},
		"hard link to a directory":      {"l h low/dir"},
		"hard link to what comes later": {"l h later", "f later x"}, "hard link to what is hidden": {"f low/.wh.file",
			"l h low/file"},
		"hard link to what was hidden with its directory": {"f .wh.low", "l h low/file"},
		"hard link into a file":                           {"l h low/file/x"},
		"below a link that replaced a directory":          {"d a", "s a /etc", "f a/passwd x"},
		"root that is a file":                             {"f a a", "f a b", "f . x"},
		"hidden dots":                                     {"f a a", "f a b", "f .wh... x"},
		"hidden nothing":                                  {"f a a", "f a b", "f .wh. x"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			s, src := storetest.Open(t, store.Options{Driver: "overlay", Root: root}), newOrigin()
			if img, err := s.Pull.Copy(t.Context(), src, src.image(below, oddTar(members...)),
				copyOptions("example.test/app:1")); err == nil {
				t.Errorf("it was unpacked: %q", shown(t, s, img.Layers[1].ID))
			}
			if all := left(t, root); len(all) > 0 {
				t.Errorf("left behind: %v", all)
			}
		})
	}
}
