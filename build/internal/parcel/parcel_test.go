package parcel_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/parcel"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/registry/content"
)

// shelf keeps blobs in memory.
type shelf map[digest.Digest][]byte

func (s shelf) Fetch(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	text, ok := s[d.Digest]
	if !ok {
		return nil, content.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}

func (s shelf) holds(_ context.Context, d ocispec.Descriptor) (bool, error) {
	return s[d.Digest] != nil, nil
}

func spool(t *testing.T) func() (*os.File, error) {
	return func() (*os.File, error) { return outfile.Unnamed(t.TempDir()) }
}

// pack packs a directory into a shelf, and tells how many bytes were sent.
func pack(t *testing.T, s shelf, dir string, old *parcel.Parcel, secrets ...string) (p parcel.Parcel, left string,
	sent int) {
	t.Helper()
	o := parcel.Options{Dir: dir, Spool: spool(t), Old: old, From: s, Holds: s.holds}
	for _, secret := range secrets {
		o.Secrets = append(o.Secrets, []byte(secret))
	}
	packed, err := parcel.Pack(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	type came struct {
		d    ocispec.Descriptor
		text []byte
	}
	all := make(chan came, 1000)
	err = packed.Send(t.Context(), func(_ context.Context, d ocispec.Descriptor, from io.ReaderAt) error {
		text := make([]byte, d.Size)
		_, err := from.ReadAt(text, 0)
		all <- came{d, text}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	close(all)
	for c := range all {
		s[c.d.Digest] = c.text
		sent += len(c.text)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Parcel, packed.Left.String(), sent
}

func unpackTo(t *testing.T, s content.Fetcher, p parcel.Parcel) (string, error) {
	t.Helper()
	dir := t.TempDir()
	return dir, parcel.Unpack(t.Context(), s, p, parcel.UnpackOptions{Dir: dir, Spool: spool(t), Nested: true})
}

// state is all that is to be known of the files of a directory.
func state(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	inodes := map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		name, what := strings.TrimPrefix(path, dir), ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what = fmt.Sprintf("%x", sha256.Sum256(text))
			if st.Nlink > 1 {
				if inodes[st.Ino] == "" {
					inodes[st.Ino] = name
				}
				what += " linked " + inodes[st.Ino]
			}
		case unix.S_IFLNK:
			if what, err = os.Readlink(path); err != nil {
				return err
			}
		}
		value := make([]byte, 100)
		if n, err := unix.Lgetxattr(path, "user.note", value); err == nil {
			what += " note=" + string(value[:n])
		}
		out = append(out, fmt.Sprintf("%s %o %d:%d %d %s", name, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, what))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

func random(seed uint64, n int) []byte {
	text, from := make([]byte, n), rand.New(rand.NewPCG(seed, 1))
	for i := range text {
		text[i] = byte(from.Uint32())
	}
	return text
}

// must ends the test after an error.
func must(t *testing.T, all ...error) {
	t.Helper()
	for _, err := range all {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// tree is a directory with files of all kinds.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.MkdirAll(at("a/b"), 0o750), os.WriteFile(at("a/small"), []byte("small"), 0o640),
		os.WriteFile(at("large"), random(1, 9<<20), 0o600), os.WriteFile(at("empty"), nil, 0o666),
		os.Symlink("../nowhere", at("a/link")), os.Link(at("a/small"), at("a/b/other name")),
		os.Chown(at("a/b"), 1000, 1001), os.Chmod(at("a/b"), 0o2775),
		unix.Setxattr(at("empty"), "user.note", []byte("value"), 0), os.Lchown(at("a/link"), 7, 8),
		os.WriteFile(at("zeros"), make([]byte, 5<<20), 0o644), os.Chmod(dir, 0o1777), os.Chown(dir, 5, 6))
	return dir
}

func TestADirectoryComesBackAsItWas(t *testing.T) {
	t.Parallel()
	dir, s := tree(t), shelf{}
	p, left, _ := pack(t, s, dir, nil)
	if err := p.Check(); err != nil || left != "" {
		t.Error(err, left)
	}
	got, err := unpackTo(t, s, p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(state(t, dir), "\n"), strings.Split(state(t, got), "\n")); diff != "" {
		t.Error(diff)
	}
}

func TestTheSecondUploadSendsWhatChanged(t *testing.T) {
	t.Parallel()
	dir, s := tree(t), shelf{}
	for i := range 40 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), random(uint64(i)+10, 100_000), 0o600))
	}
	first, _, all := pack(t, s, dir, nil)
	same, _, sent := pack(t, s, dir, &first)
	if sent > all/50 {
		t.Errorf("without a change %d bytes of %d were sent", sent, all)
	}
	large := random(1, 9<<20)
	must(t, os.WriteFile(filepath.Join(dir, "large"), append([]byte("put before it"), large...), 0o600),
		os.WriteFile(filepath.Join(dir, "file7"), random(99, 100_000), 0o600),
		os.Rename(filepath.Join(dir, "file8"), filepath.Join(dir, "renamed")))
	second, _, sent := pack(t, s, dir, &same)
	if sent > all/4 {
		t.Errorf("with some changes %d bytes of %d were sent", sent, all)
	}
	got, err := unpackTo(t, s, second)
	if err != nil || state(t, dir) != state(t, got) {
		t.Error("it is not what was packed", err)
	}
	// A pack that the place has lost is sent anew.
	delete(s, second.Blobs[1].Digest)
	third, _, _ := pack(t, s, dir, &second)
	if got, err := unpackTo(t, s, third); err != nil || state(t, dir) != state(t, got) {
		t.Error("with a pack lost it is not what was packed", err)
	}
	// What is mostly of no use any more is left behind.
	must(t, os.RemoveAll(filepath.Join(dir, "large")), os.RemoveAll(filepath.Join(dir, "zeros")))
	small, _, _ := pack(t, s, dir, &third)
	if got := small.Compressed(); got > 5<<20 {
		t.Errorf("it has %d bytes", got)
	}
}

func TestWhatNobodyElseMayHaveIsLeftOut(t *testing.T) {
	t.Parallel()
	dir, s := t.TempDir(), shelf{}
	at := func(name string) string { return filepath.Join(dir, name) }
	const secret = "hunter22"
	edge := random(5, 3<<20)
	copy(edge[1<<20-3:], secret)
	must(t, os.WriteFile(at("kept"), []byte("kept"), 0o600), os.WriteFile(at("token"), []byte("x="+secret+"\n"), 0o600),
		os.WriteFile(at("edge"), edge, 0o600), os.WriteFile(at(".wh.kept"), nil, 0o600),
		unix.Mknod(at("hides"), unix.S_IFCHR|0o600, 0))
	socket, err := net.Listen("unix", at("socket"))
	must(t, err)
	defer func() { _ = socket.Close() }() // the test is over
	p, left, _ := pack(t, s, dir, nil, secret, "")
	if want := `left out: 2 sockets or devices, 1 names that begin with .wh., 2 files with a secret in them`; !strings.HasPrefix(left, want) {
		t.Error(left)
	}
	for _, text := range s {
		plain, err := zstd.NewReader(bytes.NewReader(text))
		must(t, err)
		all, err := io.ReadAll(plain)
		if err != nil || bytes.Contains(all, []byte(secret)) {
			t.Error("a blob has the secret in it", err)
		}
		plain.Close()
	}
	got, err := unpackTo(t, s, p)
	must(t, err)
	if names, err := filepath.Glob(got + "/*"); err != nil || len(names) != 1 {
		t.Error(names, err)
	}
}

// TestAHostileParcelIsRefused changes blobs, and what a listing says of them.
func TestAHostileParcelIsRefused(t *testing.T) {
	t.Parallel()
	s := shelf{}
	p, _, _ := pack(t, s, tree(t), nil)
	encoder, err := zstd.NewWriter(nil)
	must(t, err)
	relisted := func(change func(head, rest string) (string, string)) func(shelf, *parcel.Parcel) {
		return func(s shelf, p *parcel.Parcel) {
			plain, err := zstd.NewReader(bytes.NewReader(s[p.Blobs[0].Digest]))
			must(t, err)
			defer plain.Close()
			all, err := io.ReadAll(plain)
			must(t, err)
			head, rest, _ := strings.Cut(string(all), "\n")
			now, then := change(head, rest)
			if now+then == head+rest {
				t.Error("nothing has changed")
			}
			text := encoder.EncodeAll([]byte(now+"\n"+then), nil)
			p.Blobs[0] = ocispec.Descriptor{MediaType: parcel.ListingType, Digest: digest.FromBytes(text),
				Size: int64(len(text))}
			s[p.Blobs[0].Digest] = text
		}
	}
	field := func(name string, value any) func(shelf, *parcel.Parcel) {
		return relisted(func(head, rest string) (string, string) {
			var all map[string]any
			must(t, json.Unmarshal([]byte(head), &all))
			all[name] = value
			text, err := json.Marshal(all)
			must(t, err)
			return string(text), rest
		})
	}
	bomb := encoder.EncodeAll(make([]byte, 100<<20), nil)
	for what, change := range map[string]func(shelf, *parcel.Parcel){
		"no blobs":           func(_ shelf, p *parcel.Parcel) { p.Blobs = nil },
		"another type":       func(_ shelf, p *parcel.Parcel) { p.Blobs[1].MediaType = "text/plain" },
		"a pack is lost":     func(s shelf, p *parcel.Parcel) { delete(s, p.Blobs[1].Digest) },
		"a pack is another":  func(s shelf, p *parcel.Parcel) { s[p.Blobs[1].Digest] = s[p.Blobs[2].Digest] },
		"packs are swapped":  func(_ shelf, p *parcel.Parcel) { p.Blobs[1], p.Blobs[2] = p.Blobs[2], p.Blobs[1] },
		"the listing is cut": func(s shelf, p *parcel.Parcel) { s[p.Blobs[0].Digest] = s[p.Blobs[0].Digest][:30] },
		"a bomb": func(s shelf, p *parcel.Parcel) {
			p.Blobs[1] = ocispec.Descriptor{MediaType: parcel.PackType, Digest: digest.FromBytes(bomb), Size: int64(len(bomb))}
			s[p.Blobs[1].Digest] = bomb
		},
		"another version":    field("version", 2),
		"no digest":          field("diffID", "x"),
		"a wrong digest":     field("diffID", digest.FromString("x")),
		"packs too large":    field("packs", []int64{1 << 40, 1, 1}),
		"no chunks":          field("chunks", []int{}),
		"a chunk of no pack": field("chunks", []map[string]any{{"p": 9, "a": 0, "n": 5, "s": strings.Repeat("0", 64)}}),
		"a chunk before its pack": field("chunks", []map[string]any{{"p": 0, "a": -5, "n": 5,
			"s": strings.Repeat("0", 64)}}),
		"a name that leads out": relisted(func(head, rest string) (string, string) {
			return head, strings.Replace(rest, "{", `{"type":9,"x":"../"},{`, 1)
		}),
		"no records": relisted(func(head, _ string) (string, string) { return head, "" }),
	} {
		mine, now := shelf{}, parcel.Parcel{Blobs: append([]ocispec.Descriptor{}, p.Blobs...), Size: p.Size}
		for d, text := range s {
			mine[d] = text
		}
		change(mine, &now)
		if dir, err := unpackTo(t, mine, now); err == nil {
			t.Errorf("%s: it is unpacked to %s", what, state(t, dir))
		}
	}
}
