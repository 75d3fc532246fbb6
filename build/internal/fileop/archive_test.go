package fileop

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns/asroot"
)

// member is a tar header with its content, terse.
type member struct {
	tar.Header
	text string
}

func file(name, text string) member {
	return member{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, text}
}

func directory(name string) member {
	return member{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, ""}
}

func link(kind byte, name, target string) member {
	return member{tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o777}, ""}
}

// archive makes a tar archive.
func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		m.Size = int64(len(m.text))
		check(t, w.WriteHeader(&m.Header))
		_, err := io.WriteString(w, m.text)
		check(t, err)
	}
	check(t, w.Close())
	return b.Bytes()
}

// compressed passes data through a compressor.
func compressed(t testing.TB, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	check(t, err)
	_, err = w.Write(data)
	check(t, err)
	check(t, w.Close())
	return b.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	return compressed(t, data, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
}

// add carries out "ADD x DEST", x being the data.
func add(t testing.TB, s stage, data []byte, dest string) error {
	t.Helper()
	check(t, os.WriteFile(s.context+"/x", data, 0o644))
	o := s.options(t, []string{"x"}, dest)
	o.UnpackArchives = true
	res, err := Copy(t.Context(), o)
	if err == nil {
		checkOwnersTold(t, s, res)
	}
	return err
}

func TestAddRecognisesArchivesByContent(t *testing.T) {
	plain := archive(t, file("f", "F"))
	bz2, err := os.ReadFile("testdata/one-file.tar.bz2")
	check(t, err)
	xzSeveral, err := os.ReadFile("testdata/one-file-multi.tar.xz")
	check(t, err)
	unpacked := files{"d": "dir @0755", "d/f": "file F @0644"}
	for name, c := range map[string]struct {
		data []byte
		want files
	}{
		"tar":  {plain, unpacked},
		"gzip": {gzipped(t, plain), unpacked},
		"zstd": {compressed(t, plain,
			func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }), unpacked},
		"xz": {compressed(t, plain, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }),
			unpacked},
		"bzip2":                 {bz2, unpacked},
		"xz of several streams": {xzSeveral, unpacked},
		"zstd after a frame to be skipped": {
			append([]byte("\x50\x2a\x4d\x18\x02\x00\x00\x00xx"),
				compressed(t, plain, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })...),
			unpacked,
		},
		"gzip that isn't a tar": {gzipped(t, []byte("hello")), nil},
		"text":                  {[]byte("hello"), nil},
		"zeros":                 {make([]byte, 4096), nil},
		"nothing":               {nil, nil},
		"gzip's magic only":     {[]byte("\x1f\x8b"), nil},
		"xz's magic only":       {[]byte("\xfd7zXZ\x00"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			if c.want == nil {
				c.want = files{"d": "dir @0755", "d/x": "file " + string(c.data) + " @0644"}
			}
			check(t, add(t, s, c.data, "/d/"))
			if diff := cmp.Diff(c.want, read(t, s.layer)); diff != "" {
				t.Errorf("layer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAddUnpacks(t *testing.T) {
	when := time.Unix(1_234_567_890, 0)
	owned := file("f", "F")
	owned.Uid, owned.Gid, owned.Mode, owned.ModTime = 11, 12, 0o4755, when
	fifo := member{tar.Header{Typeflag: tar.TypeFifo, Name: "p", Mode: 0o600}, ""}
	device := member{tar.Header{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3}, ""}
	sub := directory("s/")
	sub.Mode, sub.Uid, sub.ModTime = 0o710, 13, when
	for _, c := range []struct {
		name    string
		view    files
		members []member
		want    files
	}{
		{
			name: "owners and modes as they are", members: []member{owned, fifo, device},
			want: files{"f": "file F @4755:11:12", "p": "10000 0:0 @0600", "null": "20000 1:3 @0666"},
		},
		{
			name: "directories before and after their files", members: []member{sub, file("s/a", "A"), file("t/b", "B"),
				directory("t")},
			want: files{"s": "dir @0710:13:0", "s/a": "file A @0644", "t": "dir @0755", "t/b": "file B @0644"},
		},
		{
			name: "hard links and links", want: files{"a": "file A @0644", "b": "hard a", "c": "link a", "d": "dir @0755",
				"d/e": "hard a"},
			members: []member{
				file("a", "A"), link(tar.TypeLink, "b", "a"), link(tar.TypeSymlink, "c", "a"), link(tar.TypeLink, "d/e", "./b"),
			},
		},
		{
			name: "a later member replaces an earlier one", members: []member{file("a", "1"), file("a", "2"), file("b/c", "C"),
				file("b", "B")},
			want: files{"a": "file 2 @0644", "b": "file B @0644"},
		},
		{
			name:    "into a directory of the image, whose attributes it takes over",
			view:    files{"s": "dir@0700:1:1", "s/old": "file O"},
			members: []member{sub, file("s/a", "A")}, want: files{"s": "dir @0710:13:0", "s/a": "file A @0644"},
		},
		{
			name: "beside what a directory of the image holds", view: files{"s": "dir@0700:1:1"},
			members: []member{file("s/a", "A")}, want: files{"s": "dir @0700:1:1", "s/a": "file A @0644"},
		},
		{
			name: "a file in place of a directory", view: files{"s/old": "file O"}, members: []member{file("s", "S")},
			want: files{"s": "file S @0644"},
		},
		{
			name: "a directory in place of a file", view: files{"s": "file O"},
			members: []member{file("a", "A"), sub, file("s/b", "B")},
			want:    files{"a": "file A @0644", "s": "dir @0710:13:0", "s/b": "file B @0644"},
		},
		{
			name: "through a link of the image", view: files{"bin": "link usr/bin", "usr/bin": "dir"},
			members: []member{file("bin/a", "A")},
			want:    files{"usr": "dir @0755", "usr/bin": "dir @0755", "usr/bin/a": "file A @0644"},
		},
		{
			name: "a hard link to a file of the image", view: files{"a": "file A@0640:3:4"},
			members: []member{link(tar.TypeLink, "b", "a")},
			want:    files{"a": "file A @0640:3:4", "b": "hard a"},
		},
		{
			name: "absolute names and dots", members: []member{file("/a", "A"), file("./b", "B"), file("c/../d", "D"),
				directory("./")},
			want: files{"a": "file A @0644", "b": "file B @0644", "d": "file D @0644"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			plant(t, s.view, c.view)
			check(t, add(t, s, gzipped(t, archive(t, c.members...)), "/"))
			if !asroot.Real() {
				delete(c.want, "null")
			}
			if diff := cmp.Diff(c.want, read(t, s.layer)); diff != "" {
				t.Errorf("layer (-want +got):\n%s", diff)
			}
			if st, err := os.Lstat(s.layer + "/s"); err == nil && st.IsDir() && c.want["s"] == "dir @0710:13:0" &&
				!st.ModTime().Equal(when) {
				t.Errorf("time of s is %v", st.ModTime())
			}
		})
	}
}

func TestADirectoryThatWasAFileBetweenHidesTheImages(t *testing.T) {
	s := newStage(t)
	plant(t, s.view, files{"s/old": "file O"})
	check(t, add(t, s, archive(t, file("s", "S"), directory("s"), file("s/new", "N")), "/"))
	if got := xattr(t, s.layer+"/s", overlayXattr(t)+"opaque"); got != "y" {
		t.Errorf("s isn't opaque: %q", got)
	}
}

func TestAddWithChownAndCapabilities(t *testing.T) {
	s := newStage(t)
	m := file("d/f", "F")
	m.Uid = 99
	m.PAXRecords = map[string]string{
		"SCHILY.xattr.security.capability": string(netRaw()), "SCHILY.xattr.trusted.overlay.opaque": "y",
		"SCHILY.xattr.user.note": "n",
	}
	check(t, os.WriteFile(s.context+"/x", archive(t, m), 0o644))
	o := s.options(t, []string{"x"}, "/")
	o.UnpackArchives, o.Chown = true, &Owner{5, 6}
	res, err := Copy(t.Context(), o)
	check(t, err)
	checkOwnersTold(t, s, res)
	want := files{"d": "dir @0755:5:6", "d/f": "file F @0644:5:6"}
	if diff := cmp.Diff(want, read(t, s.layer)); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
	if got := xattr(t, s.layer+"/d/f", "security.capability"); got != string(netRaw()) {
		t.Errorf("capability %q", got)
	}
	if got := xattr(t, s.layer+"/d/f", "trusted.overlay.opaque"); got == "y" {
		t.Error("overlayfs's attribute was unpacked")
	}
}

// TestHostileArchives unpacks them into a layer, as ADD does, and into a context.
func TestHostileArchives(t *testing.T) {
	const inLayer, inContext = "in a layer", "in a context"
	for _, c := range []struct {
		name    string
		members []member
		// want is an error, nil if the archive is contained.
		want error
		// only is the one of the two that the case is about; empty: both.
		only string
	}{
		{"up", []member{file("../outside/evil", "E")}, ErrUnsafeArchive, ""},
		{"up in the middle", []member{file("a/../../outside/evil", "E")}, ErrUnsafeArchive, ""},
		{"absolute", []member{file("OUT/evil", "E")}, nil, ""},
		{"a link up", []member{link(tar.TypeSymlink, "l", "../../outside"), file("l/evil", "E")}, nil, ""},
		{"an absolute link", []member{link(tar.TypeSymlink, "l", "OUT"), file("l/evil", "E")}, nil, ""},
		{"a link written through", []member{link(tar.TypeSymlink, "l", "OUT/secret"), file("l", "E")}, nil, ""},
		{"a link that a directory becomes", []member{directory("d"), link(tar.TypeSymlink, "d", "OUT"), file("d/evil", "E")},
			nil, ""},
		{"a directory that a link becomes", []member{link(tar.TypeSymlink, "d", "OUT"), directory("d"), file("d/evil", "E")},
			nil, ""},
		{"a chain of links", []member{
			link(tar.TypeSymlink, "a", "."), link(tar.TypeSymlink, "a/b", ".."), link(tar.TypeSymlink, "b/c", "../.."),
			file("c/outside/evil", "E"), file("b/b/b/outside/evil", "E"),
		}, nil, ""},
		{"a circle of links", []member{link(tar.TypeSymlink, "a", "b"), link(tar.TypeSymlink, "b", "a"), file("a/x", "E")},
			unix.ELOOP, ""},
		{"a process's root", []member{link(tar.TypeSymlink, "l", "/proc/self/root"), file("l/OUT/evil", "E")}, nil, ""},
		{"a process's descriptors", []member{link(tar.TypeSymlink, "l", "/proc/self/fd/3"), file("l/evil", "E")}, nil, ""},
		{"a hard link to itself", []member{link(tar.TypeLink, "h", "h")}, nil, inContext},
		{"hard links in a circle", []member{link(tar.TypeLink, "a", "b"), link(tar.TypeLink, "b", "a")}, ErrUnsafeArchive,
			""},
		{"a hard link up", []member{link(tar.TypeLink, "l", "../outside/secret")}, ErrUnsafeArchive, ""},
		{"an absolute hard link", []member{link(tar.TypeLink, "l", "OUT/secret")}, ErrUnsafeArchive, ""},
		{"a hard link through a link", []member{link(tar.TypeSymlink, "l", "OUT"), link(tar.TypeLink, "h", "l/secret")},
			ErrUnsafeArchive, ""},
		{"a hard link to a link", []member{
			link(tar.TypeSymlink, "l", "OUT/secret"), link(tar.TypeLink, "h", "l"), file("h", "E"),
		}, nil, ""},
		{"a hard link to a directory", []member{directory("d"), link(tar.TypeLink, "h", "d")}, ErrIsDirectory, ""},
		{"a whiteout", []member{file("d/.wh.passwd", "")}, ErrWhiteout, inLayer},
		{"an opaque mark", []member{file(".wh..wh..opq", "")}, ErrWhiteout, inLayer},
		{"a whiteout on the way", []member{file(".wh.d/f", "")}, ErrWhiteout, inLayer},
		{"an overlay whiteout", []member{{tar.Header{Typeflag: tar.TypeChar, Name: "etc"}, ""}}, ErrWhiteout, inLayer},
		{"a device that would become one", []member{{tar.Header{Typeflag: tar.TypeChar, Name: "etc", Devmajor: 4096}, ""}},
			ErrUnsafeArchive, inLayer},
		{"a disk that is none", []member{{tar.Header{Typeflag: tar.TypeBlock, Name: "etc", Devminor: 1 << 20}, ""}},
			ErrUnsafeArchive, inLayer},
		{"a path of a megabyte", []member{file(strings.Repeat("a/", 400<<10)+"x", "")}, unix.ENAMETOOLONG, ""},
		{"a file as a directory", []member{file("f", "F"), file("f/g", "G")}, ErrNotDirectory, ""},
		{"an owner out of range", []member{{tar.Header{Typeflag: tar.TypeReg, Name: "f", Uid: 1 << 32}, ""}},
			ErrUnsafeArchive, inLayer},
		{"a name too long", []member{file(strings.Repeat("n", 300), "")}, unix.ENAMETOOLONG, ""},
	} {
		for _, way := range []string{inLayer, inContext} {
			if c.only != "" && c.only != way {
				continue
			}
			t.Run(c.name+" "+way, func(t *testing.T) {
				s, outside := hostileStage(t)
				members := slices.Clone(c.members)
				for n := range members {
					m := &members[n]
					m.Name, m.Linkname = strings.ReplaceAll(m.Name, "OUT", outside), strings.ReplaceAll(m.Linkname, "OUT", outside)
				}
				fds, data := openFDs(t), archive(t, members...)
				var err error
				if way == inLayer {
					err, fds = add(t, s, data, "/d/"), fds+2
				} else {
					_, err = unpackTo(t, s, data)
				}
				if !errors.Is(err, c.want) {
					t.Errorf("got error %v, want %v", err, c.want)
				}
				if err != nil && !strings.Contains(err.Error(), "member") {
					t.Errorf("error %q doesn't name the member", err)
				}
				if now := openFDs(t); now > fds {
					t.Errorf("%d descriptors before, %d after", fds, now)
				}
				noSecret(t, s, outside)
				if text, err := os.ReadFile(outside + "/secret"); err != nil || string(text) != secret {
					t.Errorf("the file outside was written to: %q, %v", text, err)
				}
				if st := stat(t, outside+"/secret"); st.Nlink != 1 {
					t.Errorf("the file outside was linked to")
				}
			})
		}
	}
}

func TestDamagedArchives(t *testing.T) {
	plain := archive(t, file("f", strings.Repeat("text ", 10_000)))
	zipped := gzipped(t, plain)
	wrongSum := bytes.Clone(zipped)
	wrongSum[len(wrongSum)-6] ^= 1
	xzData := compressed(t, plain, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })
	for name, data := range map[string][]byte{
		"cut": plain[:20_000], "gzip cut": zipped[:len(zipped)-20], "gzip's checksum": wrongSum,
		"xz cut": xzData[:len(xzData)-20],
	} {
		if err := add(t, newStage(t), data, "/"); err == nil || !strings.Contains(err.Error(), "unpack /x") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, directory("d"), file("d/f", "F"), link(tar.TypeSymlink, "l", "d"), link(tar.TypeLink, "h", "l/f"),
		file("l/g", "G")))
	f.Add(archive(f, link(tar.TypeSymlink, "a", "../../.."), file("a/b", "B")))
	f.Add(gzipped(f, archive(f, file("f", "F"), file("f/g", "G"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		root := t.TempDir()
		s := stage{context: root + "/c", view: root + "/v", layer: root + "/l"}
		for _, d := range []string{s.context, s.view, s.layer} {
			check(t, os.Mkdir(d, 0o755))
		}
		plant(t, s.view, files{"d/old": "file O", "k": "link /d"})
		_ = add(t, s, data, "/d/")
		entries, err := os.ReadDir(root)
		check(t, err)
		if len(entries) != 3 {
			t.Fatalf("something was written outside: %v", entries)
		}
		if inside, err := os.ReadDir(filepath.Join(root, "v")); err != nil || len(inside) != 2 {
			t.Fatalf("the image below was written to: %v, %v", inside, err)
		}
	})
}
