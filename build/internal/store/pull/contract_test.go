package pull_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
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
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

// filled is a member of an archive, with its data.
type filled struct {
	tar.Header
	data string
}

// archived makes an archive of members, and adds what follows its end.
func archived(t *testing.T, trailer int, members ...filled) layerBlob {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		m.Size = int64(len(m.data))
		if m.Typeflag == tar.TypeXGlobalHeader {
			m.Size = 0
		}
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		if _, err := io.WriteString(w, m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text := append(b.Bytes(), make([]byte, trailer)...)
	return layerBlob{text, zipped(text)}
}

// allSorts has one of everything that a layer may have; times are whole seconds where the header's format has no more.
func allSorts(t *testing.T) []layerBlob {
	t.Helper()
	when := time.Unix(1_600_000_000, 0)
	long := strings.Repeat("a-long-name-", 12)
	acl := "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x06\x00\x07\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	attr := func(name, value string) map[string]string { return map[string]string{"SCHILY.xattr." + name: value} }
	dir := func(name string, mode int64) filled {
		return filled{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, ModTime: when}}
	}
	file := func(name, data string) filled {
		return filled{tar.Header{Name: name, Mode: 0o644, ModTime: when}, data}
	}
	bottom := []filled{
		{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "c"}}},
		dir("./", 0o711), dir("bin/", 0o755), file("bin/tool", "#!"), dir("tmp/", 0o1777), dir("group/", 0o2775),
		{tar.Header{Name: "bin/su", Mode: 0o4755, Uid: 1, Gid: 2, ModTime: when}, "su"},
		{tar.Header{Name: "bin/ping", Mode: 0o755, ModTime: when, PAXRecords: attr("security.capability", capability)},
			"ping"},
		{tar.Header{Name: "group/acl", Mode: 0o664, ModTime: when, PAXRecords: attr("system.posix_acl_access", acl)}, "acl"},
		{tar.Header{Name: "group/user", Mode: 0o600, ModTime: when, PAXRecords: attr("user.name", "value\x00x")}, ""},
		{Header: tar.Header{Typeflag: tar.TypeLink, Name: "bin/tool2", Linkname: "bin/tool", Mode: 0o700, Uid: 3,
			ModTime: when}},
		{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "lib", Linkname: "usr/lib", Mode: 0o777, Uid: 4, ModTime: when}},
		{Header: tar.Header{Typeflag: tar.TypeLink, Name: "lib2", Linkname: "lib", Mode: 0o777, ModTime: when}},
		{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o620, Gid: 5, ModTime: when}},
		{Header: tar.Header{Typeflag: tar.TypeChar, Name: "dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3, ModTime: when}},
		{Header: tar.Header{Typeflag: tar.TypeBlock, Name: "dev/loop", Mode: 0o660, Devmajor: 7, ModTime: when}},
		{tar.Header{Name: "old", Mode: 0o600, ModTime: time.Unix(-5, 0), Format: tar.FormatPAX}, "old"},
		{tar.Header{Name: "late", Mode: 0o600, ModTime: time.Unix(1<<34, 0), Format: tar.FormatPAX}, "late"},
		{tar.Header{Name: "exact", Mode: 0o600, ModTime: time.Unix(9, 123456789), AccessTime: time.Unix(99, 5),
			Format: tar.FormatPAX}, "exact"},
		{tar.Header{Name: "gnu/" + long, Mode: 0o600, ModTime: when, Format: tar.FormatGNU}, "gnu"},
		{tar.Header{Name: "pax/" + long + "é", Mode: 0o600, ModTime: when, Format: tar.FormatPAX}, "pax"},
		dir("closed/", 0), file("closed/in", "in"), file("big", strings.Repeat("0123456789abcdef", 20000)),
		file("holes", string(make([]byte, 300<<10))), file("./dotted/./name", "d"), file("/absolute", "a"),
	}
	for i := range 300 {
		bottom = append(bottom, file(fmt.Sprintf("many/%d/file", i%7*1000+i), strings.Repeat("x", i*400)))
	}
	middle := []filled{ // without a root directory
		file("bin/.wh.su", ""), dir("tmp/", 0o1777), file("tmp/.wh..wh..opq", ""), file("tmp/new", "new"),
		file("group/.wh.acl", ""),
		{tar.Header{Name: ".wh.old", Uid: 7, Gid: 8}, ""}, file("implied/by/this", "x"), dir("implied/", 0o700),
	}
	top := []filled{dir("opaque/", 0o755), file("opaque/.wh..wh..opq", ""), file("opaque/in", "x")}
	plain := archived(t, 0, top...)
	plain.blob = plain.tar
	return []layerBlob{archived(t, 10<<10, bottom...), archived(t, 0, middle...), archived(t, 0), plain}
}

// implied are the directories of the layers of allSorts that only come with what is in them.
func implied(layer int) []string {
	return [][]string{{"/many", "/dev", "/dotted", "/gnu", "/pax"}, {"/implied/by", "/bin", "/group"}, nil, nil}[layer]
}

// lookAt describes a layer's directory: attributes and content of each file.
func lookAt(t *testing.T, dir string, implied []string) map[string]string {
	t.Helper()
	all := map[string]string{}
	inodes := map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		name := strings.TrimPrefix(path, dir)
		text := fmt.Sprintf("owner %d:%d device %d", st.Uid, st.Gid, st.Rdev)
		switch directory := st.Mode&unix.S_IFMT == unix.S_IFDIR; {
		case directory && slices.ContainsFunc(implied, func(i string) bool { return strings.HasPrefix(name, i) }):
			// The library makes it as it is needed, now and by its umask, which is none.
		case name == "" || st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0: // of no member, or a whiteout
			text += fmt.Sprintf(" mode %o", st.Mode)
		default:
			text += fmt.Sprintf(" mode %o time %d", st.Mode, st.Mtim.Nano()) // reading changes the access time
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if first, ok := inodes[st.Ino]; ok && st.Nlink > 1 {
				text += " is " + first
			}
			inodes[st.Ino] = name
		}
		attrs := make([]byte, 64<<10)
		n, err := unix.Llistxattr(path, attrs)
		if err != nil {
			return err
		}
		list := strings.Split(strings.Trim(string(attrs[:n]), "\x00"), "\x00")
		slices.Sort(list)
		for _, a := range list {
			value := make([]byte, 64<<10)
			if n, err := unix.Lgetxattr(path, a, value); a != "" && err == nil {
				text += fmt.Sprintf(" %s=%q", a, value[:n])
			}
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			to, err := os.Readlink(path)
			text += " to " + to
			if err != nil {
				return err
			}
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(digest.FromBytes(data))
		}
		all[name] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// kept is what a store has of a layer.
type kept struct {
	Files  map[string]string
	Record map[string]any
	Split  string
}

// keptOf looks at a layer in a store.
func keptOf(t *testing.T, d *depot.Depot, l store.Layer, implied []string) kept {
	t.Helper()
	dir, err := d.Store.DiffDir(l.ID)
	if err != nil {
		t.Fatal(err)
	}
	k := kept{Files: lookAt(t, dir, implied)}
	lists := filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(dir))), "overlay-layers")
	text, err := os.ReadFile(filepath.Join(lists, "layers.json"))
	if err != nil {
		t.Fatal(err)
	}
	var records []map[string]any
	if err := json.Unmarshal(text, &records); err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if r["id"] == l.ID {
			k.Record = r
		}
	}
	packed, err := os.Open(filepath.Join(lists, l.ID+".tar-split.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	split, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	k.Split = string(split)
	return k
}

// TestLayersAreWhatTheLibraryMakesOfThem unpacks the same layers here and by the library.
func TestLayersAreWhatTheLibraryMakesOfThem(t *testing.T) {
	layers := allSorts(t)
	src := newOrigin()
	root := src.image(layers...)
	var all [2][]kept
	for i, o := range []store.Options{{Driver: "overlay", Portable: true}, {Driver: "overlay"}} {
		d := storetest.Open(t, o)
		img, err := d.Pull.Copy(context.Background(), src, root, copyOptions("example.test/all:1"))
		if err != nil {
			t.Fatal(err)
		}
		for n, l := range img.Layers {
			all[i] = append(all[i], keptOf(t, d, l, implied(n)))
			if names, id := storetest.List(t, d, l); id != l.DiffID {
				t.Errorf("layer %s reads back as %s: %v", l.DiffID, id, names)
			}
		}
	}
	for n := range layers {
		// The flags say that the layer was made of a staged directory.
		created := cmpopts.IgnoreMapEntries(func(key string, _ any) bool { return key == "created" || key == "flags" })
		if diff := cmp.Diff(all[0][n], all[1][n], created); diff != "" {
			t.Errorf("layer %d (-library +here):\n%s", n+1, diff)
		}
	}
}

// TestArchivesOutOfTheOrdinaryAreLeftToTheLibrary has archives that aren't unpacked here, after a part of them was.
func TestArchivesOutOfTheOrdinaryAreLeftToTheLibrary(t *testing.T) {
	file := func(name string) filled { return filled{tar.Header{Name: name, Mode: 0o644}, "text of " + name} }
	for name, test := range map[string]struct {
		members []filled
		says    string // the error of both
	}{
		"a member behind a link": {members: []filled{
			file("first"), {Header: tar.Header{Typeflag: tar.TypeDir, Name: "usr/lib/", Mode: 0o755}},
			{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "lib", Linkname: "usr/lib"}}, file("lib/x"),
			{Header: tar.Header{Typeflag: tar.TypeLink, Name: "y", Linkname: "lib/x", Mode: 0o644}},
		}},
		"a member behind a file": {members: []filled{file("a"), file("a/b")}, says: "not a directory"},
		"a link to a directory": {members: []filled{
			{Header: tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755}},
			{Header: tar.Header{Typeflag: tar.TypeLink, Name: "e", Linkname: "d"}},
		}, says: "operation not permitted"},
		"a kind that nobody knows": {members: []filled{file("first"), {Header: tar.Header{Typeflag: tar.TypeCont, Name: "c"}}},
			says: "unhandled tar header type"},
	} {
		t.Run(name, func(t *testing.T) {
			src := newOrigin()
			root := src.image(archived(t, 0, test.members...))
			var all []kept
			for _, o := range []store.Options{{Driver: "overlay", Portable: true}, {Driver: "overlay"}} {
				d := storetest.Open(t, o)
				img, err := d.Pull.Copy(t.Context(), src, root, copyOptions(""))
				if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
					t.Errorf("portable %v: %v, want %q", o.Portable, err, test.says)
				}
				if err == nil {
					all = append(all, keptOf(t, d, img.Layers[0], []string{"/usr"}))
				}
			}
			if len(all) == 2 {
				created := cmpopts.IgnoreMapEntries(func(key string, _ any) bool { return key == "created" })
				if diff := cmp.Diff(all[0], all[1], created); diff != "" {
					t.Errorf("-library +here:\n%s", diff)
				}
			}
		})
	}
}
