package fileop

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"
)

// unpackTo unpacks an archive into the stage's layer.
func unpackTo(t testing.TB, s stage, data []byte) (CopyResult, error) {
	t.Helper()
	return Unpack(t.Context(), bytes.NewReader(data), s.layer)
}

func TestIsArchive(t *testing.T) {
	plain := archive(t, file("f", "F"))
	for name, c := range map[string]struct {
		head []byte
		want bool
	}{
		"tar":                   {plain, true},
		"an empty tar":          {archive(t), true},
		"gzip":                  {gzipped(t, plain), true},
		"gzip's magic only":     {[]byte("\x1f\x8b"), true},
		"bzip2":                 {[]byte("BZh91AY"), true},
		"xz":                    {[]byte("\xfd7zXZ\x00"), true},
		"zstd":                  {[]byte("\x28\xb5\x2f\xfd"), true},
		"a Dockerfile":          {[]byte("FROM scratch\nCOPY a b\n"), false},
		"a long Dockerfile":     {bytes.Repeat([]byte("# comment\n"), 100), false},
		"nothing":               {nil, false},
		"a cut header":          {plain[:300], false},
		"a header that's wrong": {append([]byte("x"), plain[1:]...), false},
	} {
		if got := IsArchive(c.head); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestUnpackMakesAContext(t *testing.T) {
	when := time.Unix(1_234_567_890, 0)
	owned := file("f", "F")
	owned.Uid, owned.Gid, owned.Mode, owned.ModTime = 1<<40, 12, 0o4755, when
	owned.PAXRecords = map[string]string{"SCHILY.xattr.user.note": "n", "SCHILY.xattr.trusted.overlay.opaque": "y"}
	closed := directory("closed")
	closed.Mode, closed.ModTime = 0, when
	device := member{tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Mode: 0o666, Devmajor: 8}, ""}
	zero := member{tar.Header{Typeflag: tar.TypeChar, Name: "zero"}, ""}
	label := member{tar.Header{Typeflag: typeVolume, Name: "label"}, ""}
	data := archive(t, label, owned, closed, file("closed/in", "I"), device, zero, file(".wh.gone", "W"),
		directory(".wh.d"),
		file(".wh.d/.wh..wh..opq", ""), file("\xff\xfe", "bytes"), file(strings.Repeat("long/", 100)+"f", "L"),
		file("dup", "1"), directory("dup"), file("dup/x", "X"), file("late/y", "Y"), file("late", "file"))
	s := newStage(t)
	res, err := unpackTo(t, s, data)
	check(t, err)
	got := read(t, s.layer)
	for p := range got {
		if p == "long" || strings.HasPrefix(p, "long/") {
			delete(got, p)
		}
	}
	want := files{
		"f": "file F @4755", "closed": "dir @0000", "closed/in": "file I @0644", ".wh.gone": "file W @0644",
		".wh.d":              "dir @0755",
		".wh.d/.wh..wh..opq": "file  @0644", "\xff\xfe": "file bytes @0644", "dup": "dir @0755", "dup/x": "file X @0644",
		"late": "file file @0644",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("context (-want +got):\n%s", diff)
	}
	if text, err := os.ReadFile(s.layer + "/" + strings.Repeat("long/", 100) + "f"); err != nil || string(text) != "L" {
		t.Errorf("long name: %q, %v", text, err)
	}
	if res.Devices != 2 {
		t.Errorf("%d devices were left out, not 2", res.Devices)
	}
	for _, name := range []string{"f", "closed"} {
		if st, err := os.Lstat(s.layer + "/" + name); err != nil || !st.ModTime().Equal(when) {
			t.Errorf("time of %s is %v, %v", name, st.ModTime(), err)
		}
	}
	if got := xattr(t, s.layer+"/f", "user.note"); got != "n" {
		t.Errorf("user.note is %q", got)
	}
	if got := xattr(t, s.layer+"/f", "trusted.overlay.opaque"); got == "y" {
		t.Error("overlayfs's attribute was unpacked")
	}
}

func TestDamagedContextArchives(t *testing.T) {
	plain := archive(t, file("f", strings.Repeat("text ", 10_000)))
	flip := func(data []byte, at int) []byte {
		data = bytes.Clone(data)
		data[len(data)-at] ^= 1
		return data
	}
	zipped := gzipped(t, plain)
	zst := compressed(t, plain,
		func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w, zstd.WithEncoderCRC(true)) })
	xzData := compressed(t, plain, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })
	bz2, err := os.ReadFile("testdata/one-file.tar.bz2")
	check(t, err)
	header := bytes.Clone(plain)
	header[0] ^= 1
	for name, data := range map[string][]byte{
		"cut": plain[:20_000], "header's checksum": header, "not a tar": gzipped(t, []byte("FROM scratch")),
		"gzip cut": zipped[:len(zipped)-20], "gzip's checksum": flip(zipped, 6), "gzip of gzip": gzipped(t, zipped),
		"zstd cut": zst[:len(zst)-20], "zstd's checksum": flip(zst, 2), "xz cut": xzData[:len(xzData)-20],
		"xz's checksum": flip(xzData, 30),
		"bzip2 cut":     bz2[:len(bz2)-4], "bzip2's checksum": flip(bz2, 4), "gzip's magic only": []byte("\x1f\x8b"),
	} {
		if _, err := unpackTo(t, newStage(t), data); err == nil || !strings.Contains(err.Error(), "read archive") {
			if err == nil || !strings.Contains(err.Error(), "member") {
				t.Errorf("%s: error %v", name, err)
			}
		}
	}
}

func TestSparseFilesStaySparse(t *testing.T) {
	// GNU tar's old format: a map of the parts in the header; one block of data in 1 GiB.
	const size = 1 << 30
	s := newStage(t)
	res, err := unpackTo(t, s, gnuSparse(size, size/2))
	check(t, err)
	if res.Bytes != size {
		t.Errorf("%d bytes, not %d", res.Bytes, size)
	}
	st := stat(t, s.layer+"/big")
	if st.Size != size || st.Blocks*512 > 1<<20 {
		t.Errorf("size %d, %d bytes on disk", st.Size, st.Blocks*512)
	}
	f, err := os.Open(s.layer + "/big")
	check(t, err)
	defer func() { _ = f.Close() }()
	data := make([]byte, 4)
	if _, err := f.ReadAt(data, size/2); err != nil || string(data) != "DATA" {
		t.Errorf("got %q, %v", data, err)
	}
	// One that no file system here can hold fails at once, not after years.
	_, err = unpackTo(t, newStage(t), gnuSparse(1<<62, 0))
	wantError(t, err, ErrUnsafeArchive)
}

// gnuSparse is an archive of one file of the given size that holds 512 bytes of data at an offset.
func gnuSparse(size, offset int64) []byte {
	const block = 512
	var b bytes.Buffer
	h := make([]byte, block)
	copy(h, "big")
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", block))
	copy(h[136:], "00000000000\x00")
	h[156] = tar.TypeGNUSparse
	copy(h[257:], "ustar  \x00")
	put := func(at int, n int64) { // base-256
		h[at] = 0x80
		for i := range 8 {
			h[at+11-i] = byte(n >> (8 * i))
		}
	}
	put(386, offset)
	put(398, block)
	put(386+24, size)
	put(398+24, 0)
	put(483, size)
	copy(h[148:], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	b.Write(h)
	b.WriteString("DATA")
	b.Write(make([]byte, block-4+2*block))
	return b.Bytes()
}

func TestABombIsBoundedByMemory(t *testing.T) {
	// 64 MiB of zeros as 64 KiB of gzip: what is unpacked never is in memory as a whole.
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	const size = 64 << 20
	check(t, w.WriteHeader(&tar.Header{Name: "bomb", Mode: 0o644, Size: size}))
	_, err := io.CopyN(w, zeroReader{}, size)
	check(t, err)
	check(t, errors.Join(w.Close(), z.Close()))
	s := newStage(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = unpackTo(t, s, b.Bytes())
	check(t, err)
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	if allocated > 8<<20 {
		t.Errorf("%d bytes were allocated to unpack %d", allocated, size)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestUnpackStopsWhenCancelled(t *testing.T) {
	ctx, cancel := newCancelled(t)
	r, w := io.Pipe()
	data := archive(t, file("a", "A"), file("b", "B"))
	go func() {
		_, _ = w.Write(data[:1024])
		cancel()
		_, _ = w.Write(data[1024:])
		_ = w.Close()
	}()
	_, err := Unpack(ctx, r, newStage(t).layer)
	wantError(t, err, errTestCancelled)
	_ = r.Close()
}

func FuzzUnpackContext(f *testing.F) {
	f.Add(archive(f, directory("d"), file("d/f", "F"), link(tar.TypeSymlink, "l", "d"), link(tar.TypeLink, "h", "l/f"),
		file("l/g", "G")))
	f.Add(archive(f, link(tar.TypeSymlink, "a", "../../.."), file("a/b", "B")))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newStage(t)
		_, _ = unpackTo(t, s, data)
		entries, err := os.ReadDir(s.layer + "/..")
		check(t, err)
		if len(entries) != 3 {
			t.Fatalf("something was written outside: %v", entries)
		}
	})
}

func TestNothingThatIsUnpackedForTheHostRunsAsAnotherUser(t *testing.T) {
	const capability = "SCHILY.xattr.security.capability"
	program := func(name string, mode int64, xattrs map[string]string) member {
		m := file(name, "P")
		m.Mode, m.PAXRecords = mode, xattrs
		return m
	}
	caps := map[string]string{capability: "\x01\x00\x00\x02\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	s := newStage(t)
	res, disarmed, err := UnpackForHost(t.Context(),
		bytes.NewReader(archive(t, program("suid", 0o4755, nil), program("plain", 0o755, nil),
			program("sgid", 0o2711, nil), program("ping", 0o755, caps), program("both", 0o6777, caps),
			member{tar.Header{Typeflag: tar.TypeLink, Name: "link", Linkname: "suid", Mode: 0o4755}, ""})), s.layer)
	check(t, err)
	if diff := cmp.Diff(Disarmed{Count: 4, Names: []string{"suid", "sgid", "ping"}}, disarmed); diff != "" ||
		res.Files != 6 {
		t.Errorf("%d files, and said to be disarmed (-want +got):\n%s", res.Files, diff)
	}
	want := files{"suid": "hard link", "plain": "file P @0755", "sgid": "file P @0711", "ping": "file P @0755",
		"both": "file P @0777", "link": "file P @0755"}
	if diff := cmp.Diff(want, read(t, s.layer)); diff != "" {
		t.Errorf("unpacked (-want +got):\n%s", diff)
	}
	if n, err := unix.Getxattr(s.layer+"/ping", "security.capability", nil); !errors.Is(err, unix.ENODATA) {
		t.Errorf("ping has capabilities of %d bytes, %v", n, err)
	}
}
