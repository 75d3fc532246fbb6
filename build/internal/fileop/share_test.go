package fileop

import (
	"context"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// stacked gives the options of a copy from a stack of layers, uppermost first, onto others.
func (s stage) stacked(t *testing.T, from, below []string, sources []string, dest string) CopyOptions {
	t.Helper()
	o := s.options(t, sources, dest)
	o.KeepOwner = true
	for _, dir := range from {
		o.Shared.From = append(o.Shared.From, openRoot(t, dir))
	}
	for _, dir := range below {
		o.Shared.Below = append(o.Shared.Below, openRoot(t, dir))
	}
	mount, err := overlay.Mount(overlay.Options{Lower: o.Shared.From, UserXattr: overlayXattr(t) == "user.overlay."})
	check(t, err)
	t.Cleanup(func() { _ = mount.Close() })
	o.Source = mount
	return o
}

func statOf(t *testing.T, path string) (st unix.Stat_t) {
	t.Helper()
	check(t, unix.Lstat(path, &st))
	return st
}

func large() string { return strings.Repeat("large.", layer.LargeFileSize/6+1) }

// layers plants trees, uppermost first, and gives their directories.
func layers(t *testing.T, trees ...files) (dirs []string) {
	t.Helper()
	for _, tree := range trees {
		dir := t.TempDir()
		plant(t, dir, tree)
		dirs = append(dirs, dir)
	}
	return dirs
}

func TestFilesOfAStackAreLinkedIfTheyKeepTheirAttributes(t *testing.T) {
	big := "file " + large()
	from := layers(t, files{"d/upper": "file new", "d/s": "link upper"}, files{"d/upper": "file old", "d/lower": big},
		files{"d/lower": big, "d/sub/f": "file f@4711:3:4", "d/empty": "file "})
	for name, c := range map[string]struct {
		change func(*CopyOptions)
		linked bool
	}{
		"as they are":              {func(*CopyOptions) {}, true},
		"the same mode":            {func(o *CopyOptions) { o.Chmod = "u+r" }, true},
		"another mode":             {func(o *CopyOptions) { o.Chmod = "0700" }, false},
		"another owner":            {func(o *CopyOptions) { o.Chown = &Owner{7, 8} }, false},
		"owners that aren't kept":  {func(o *CopyOptions) { o.KeepOwner = false }, false},
		"a layer for any root":     {func(o *CopyOptions) { o.Shared.AnyBelow = true }, false},
		"onto one of the layers":   {func(o *CopyOptions) { o.Shared.Below = o.Shared.From }, false},
		"layers that aren't known": {func(o *CopyOptions) { o.Shared = Shared{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			o := s.stacked(t, from, nil, []string{"/d"}, "/e/")
			c.change(&o)
			fds := openFDs(t)
			res, err := Copy(context.Background(), o)
			check(t, err)
			if now := openFDs(t); now != fds {
				t.Errorf("%d descriptors before, %d after", fds, now)
			}
			checkOwnersTold(t, s, res)
			for path, original := range map[string]string{"upper": from[0] + "/d/upper", "lower": from[1] + "/d/lower",
				"sub/f": from[2] + "/d/sub/f"} {
				made, was := statOf(t, s.layer+"/e/"+path), statOf(t, original)
				if linked := made.Ino == was.Ino; linked != c.linked {
					t.Errorf("%s is linked: %v", path, linked)
				}
			}
			if text, err := os.ReadFile(s.layer + "/e/upper"); string(text) != "new" || err != nil {
				t.Errorf("the upper file has %q, %v", text, err)
			}
			if res.Bytes != int64(len("new")+len("f")+len(large())) || res.Files != 5 {
				t.Errorf("counted were %d files and %d bytes", res.Files, res.Bytes)
			}
			// The originals are as they were.
			if got := statOf(t, from[2]+"/d/sub/f"); got.Mode&0o7777 != 0o4711 || got.Uid != 3 {
				t.Errorf("the original has the mode %o and the owner %d", got.Mode, got.Uid)
			}
		})
	}
}

// In one root file system no two names may become one file.
func TestNoFileIsLinkedTwiceIntoOneRoot(t *testing.T) {
	t.Parallel()
	from := layers(t, files{"d/large": "file " + large(), "d/small": "file small"})
	s := newStage(t)
	_, err := Copy(context.Background(), s.stacked(t, from, nil, []string{"/d", "/d/large", "/d/small"}, "/a/"))
	check(t, err)
	for _, name := range []string{"large", "small"} {
		_ = os.Rename(s.layer+"/a/"+name, s.layer+"/a/"+name+"-last") // the second source has replaced the first's
	}
	_, err = Copy(context.Background(), s.stacked(t, from, []string{s.layer}, []string{"/d"}, "/b/"))
	check(t, err)
	inodes := map[uint64]string{}
	for _, name := range []string{"a/large-last", "a/small-last", "b/large", "b/small"} {
		st := statOf(t, s.layer+"/"+name)
		if other, ok := inodes[st.Ino]; ok {
			t.Errorf("%s and %s are one file", other, name)
		}
		inodes[st.Ino] = name
	}
	// Elsewhere a large file may have a further name, a small one isn't worth to be looked for.
	other := newStage(t)
	_, err = Copy(context.Background(), other.stacked(t, from, layers(t, files{"x": "file x"}), []string{"/d"}, "/c/"))
	check(t, err)
	if statOf(t, other.layer+"/c/large").Ino != statOf(t, from[0]+"/d/large").Ino {
		t.Error("a large file isn't linked into a second root")
	}
}

func TestNamesOfOneFileStayOneFile(t *testing.T) {
	t.Parallel()
	from := layers(t, files{"d/a": "file " + large(), "d/b": "hard d/a", "d/x": "file small", "d/y": "hard d/x"})
	s := newStage(t)
	_, err := Copy(context.Background(), s.stacked(t, from, nil, []string{"/d"}, "/e/"))
	check(t, err)
	for a, b := range map[string]string{"a": "b", "x": "y"} {
		if statOf(t, s.layer+"/e/"+a).Ino != statOf(t, s.layer+"/e/"+b).Ino {
			t.Errorf("%s and %s were one file", a, b)
		}
	}
}

func TestAFileWithAttributesThatACopyLosesIsCopied(t *testing.T) {
	t.Parallel()
	from := layers(t, files{"d/a": "file 1", "d/b": "file 2"})
	check(t, unix.Setxattr(from[0]+"/d/a", "user.containers.override_stat", []byte("0:0:0700"), 0))
	check(t, unix.Setxattr(from[0]+"/d/b", "user.note", []byte("1"), 0))
	s := newStage(t)
	_, err := Copy(context.Background(), s.stacked(t, from, nil, []string{"/d"}, "/e/"))
	check(t, err)
	if statOf(t, s.layer+"/e/a").Ino == statOf(t, from[0]+"/d/a").Ino {
		t.Error("a file with an attribute of a storage driver is linked")
	}
	if statOf(t, s.layer+"/e/b").Ino != statOf(t, from[0]+"/d/b").Ino {
		t.Error("a file with an attribute of its own isn't linked")
	}
}
