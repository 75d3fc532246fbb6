package estargz

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

// member is a file of an archive.
type member struct {
	tar.Header
	data []byte
}

func archiveOf(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		m.Size = int64(len(m.data))
		check(t, w.WriteHeader(&m.Header))
		_, err := w.Write(m.data)
		check(t, err)
	}
	check(t, w.Close())
	return b.Bytes()
}

func packed(t *testing.T, archive []byte) ([]byte, Layer) {
	t.Helper()
	var b bytes.Buffer
	l, err := Pack(&b, bytes.NewReader(archive), 6)
	check(t, err)
	return b.Bytes(), l
}

func unzip(t *testing.T, text []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(text))
	check(t, err)
	all, err := io.ReadAll(z)
	check(t, err)
	return all
}

// tableOf finds the table as a snapshotter does: by the blob's last 51 bytes.
func tableOf(t *testing.T, blob []byte) (raw []byte, all table) {
	t.Helper()
	end, err := gzip.NewReader(bytes.NewReader(blob[len(blob)-51:]))
	check(t, err)
	if !bytes.HasPrefix(end.Extra, []byte{'S', 'G', 22, 0}) || !bytes.HasSuffix(end.Extra, []byte("STARGZ")) {
		t.Fatalf("the blob ends with %q", end.Extra)
	}
	at, err := strconv.ParseInt(string(end.Extra[4:20]), 16, 64)
	check(t, err)
	z, err := gzip.NewReader(bytes.NewReader(blob[at:]))
	check(t, err)
	z.Multistream(false)
	last := tar.NewReader(z)
	h, err := last.Next()
	if err != nil || h.Name != "stargz.index.json" {
		t.Fatalf("the table is %+v, %v", h, err)
	}
	raw, err = io.ReadAll(last)
	check(t, err)
	check(t, json.Unmarshal(raw, &all))
	return raw, all
}

func TestEachFileIsReadByTheTableAlone(t *testing.T) {
	t.Parallel()
	big, when := noise(2*chunk+1000), time.Unix(1_700_000_000, 0)
	all := []member{
		{tar.Header{Typeflag: tar.TypeDir, Name: "dir/", Mode: 0o755, ModTime: when, Uname: "root"}, nil},
		{tar.Header{Name: "dir/big", Mode: 0o644, Uid: 33, Gid: 34, ModTime: when}, big},
		{tar.Header{Name: "dir/even", Mode: 0o4755}, big[:chunk]},
		{tar.Header{Name: "dir/empty", PAXRecords: map[string]string{"SCHILY.xattr.user.key": "value"}}, nil},
		{tar.Header{Name: "dir/text"}, []byte("hello")},
		{tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "dir/text"}, nil},
		{tar.Header{Typeflag: tar.TypeLink, Name: "second", Linkname: "dir/text"}, nil},
		{tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}, nil},
		{tar.Header{Typeflag: tar.TypeFifo, Name: "pipe"}, nil},
	}
	archive := archiveOf(t, all...)
	blob, l := packed(t, archive)
	raw, toc := tableOf(t, blob)
	if l.Table != digest.FromBytes(raw) {
		t.Errorf("the table is %s, and is said to be %s", digest.FromBytes(raw), l.Table)
	}
	data := map[string][]byte{}
	var found []entry
	for _, e := range toc.Entries {
		if e.Type == "reg" && e.Size > 0 || e.Type == "chunk" {
			z, err := gzip.NewReader(bytes.NewReader(blob[e.Offset:]))
			check(t, err)
			n := e.ChunkSize
			if n == 0 { // the last one
				n = int64(len(all[slices.IndexFunc(all, func(m member) bool { return m.Name == e.Name })].data)) - e.ChunkOffset
			}
			part := make([]byte, n)
			_, err = io.ReadFull(z, part)
			check(t, err)
			if int64(len(data[e.Name])) != e.ChunkOffset || digest.FromBytes(part).String() != e.ChunkDigest {
				t.Errorf("%+v begins after %d bytes and has %s", e, len(data[e.Name]), digest.FromBytes(part))
			}
			data[e.Name] = append(data[e.Name], part...)
		}
		if e.Type == "reg" && digest.Digest(e.Digest).Validate() != nil {
			t.Errorf("%+v has no digest", e)
		}
		e.Offset, e.ChunkOffset, e.ChunkSize, e.Digest, e.ChunkDigest = 0, 0, 0, "", ""
		found = append(found, e)
	}
	for _, m := range all {
		if !bytes.Equal(data[m.Name], m.data) {
			t.Errorf("%s has %d bytes and not %d", m.Name, len(data[m.Name]), len(m.data))
		}
	}
	const date = "2023-11-14T22:13:20Z"
	if diff := cmp.Diff([]entry{
		{Name: "dir/", Type: "dir", Mode: 0o755, ModTime: date, UserName: "root"},
		{Name: "dir/big", Type: "reg", Size: int64(len(big)), Mode: 0o644, UID: 33, GID: 34, ModTime: date},
		{Name: "dir/big", Type: "chunk"}, {Name: "dir/big", Type: "chunk"},
		{Name: "dir/even", Type: "reg", Size: chunk, Mode: 0o4755},
		{Name: "dir/empty", Type: "reg", Xattrs: map[string][]byte{"user.key": []byte("value")}},
		{Name: "dir/text", Type: "reg", Size: 5},
		{Name: "link", Type: "symlink", LinkName: "dir/text"},
		{Name: "second", Type: "hardlink", LinkName: "dir/text"},
		{Name: "null", Type: "char", DevMajor: 1, DevMinor: 3},
		{Name: "pipe", Type: "fifo"},
	}, found); diff != "" {
		t.Errorf("the table differs (-want +got):\n%s", diff)
	}
}

func TestToOthersTheBlobIsGzipOfTheSameFiles(t *testing.T) {
	t.Parallel()
	for name, archive := range map[string][]byte{
		"files":      archiveOf(t, member{tar.Header{Name: "a"}, noise(100_000)}, member{tar.Header{Name: "b"}, nil}),
		"no file":    archiveOf(t),
		"no archive": nil,
		"padded":     append(archiveOf(t, member{tar.Header{Name: "a"}, []byte("data")}), make([]byte, 10240)...),
		"a comment": archiveOf(t, member{tar.Header{Typeflag: tar.TypeXGlobalHeader,
			PAXRecords: map[string]string{"comment": "x"}}, nil}, member{tar.Header{Name: "a"}, []byte("data")}),
	} {
		blob, l := packed(t, archive)
		whole := unzip(t, blob)
		if !bytes.HasPrefix(whole, archive) {
			t.Errorf("%s: the archive is another", name)
		}
		if l.DiffID != digest.FromBytes(whole) || l.Size != int64(len(whole)) {
			t.Errorf("%s: it is %s of %d bytes, and is said to be %+v", name, digest.FromBytes(whole), len(whole), l)
		}
		if again, _ := packed(t, archive); !bytes.Equal(again, blob) {
			t.Errorf("%s: it is not the same each time", name)
		}
	}
}

func TestWhatTheTableHasNoEntryForIsRefused(t *testing.T) {
	t.Parallel()
	good := archiveOf(t, member{tar.Header{Name: "a"}, noise(10_000)})
	strange := bytes.Clone(good)
	strange[156] = '7' // a contiguous file
	sum := 0
	for i, c := range strange[:512] {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int(c)
	}
	copy(strange[148:], "000000"[:6-len(strconv.FormatInt(int64(sum), 8))]+strconv.FormatInt(int64(sum), 8)+"\x00 ")
	holes := filepath.Join(t.TempDir(), "holes")
	check(t, errors.Join(os.WriteFile(holes, nil, 0o600), os.Truncate(holes, 1<<20)))
	sparse, err := exec.CommandContext(t.Context(), "tar", "-C", filepath.Dir(holes), "--format=pax", "--sparse", "-c",
		"holes").Output()
	check(t, err)
	broken := errors.New("the disk is full")
	for name, c := range map[string]struct {
		from io.Reader
		to   io.Writer
		want string
	}{
		"a contiguous file": {bytes.NewReader(strange), io.Discard, `"a" is of a kind ('7')`},
		"a file with holes": {bytes.NewReader(sparse), io.Discard, `"holes" has holes`},
		"a short archive":   {bytes.NewReader(good[:5000]), io.Discard, `read "a": unexpected EOF`},
		"no archive":        {strings.NewReader(strings.Repeat("x", 1024)), io.Discard, "read archive: "},
		"a full disk":       {bytes.NewReader(good), failing{broken}, broken.Error()},
	} {
		if _, err := Pack(c.to, c.from, 6); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Pack(io.Discard, bytes.NewReader(good), 99); err == nil {
		t.Error("a level that gzip hasn't got is taken")
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
