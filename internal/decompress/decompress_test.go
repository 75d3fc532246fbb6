package decompress

import (
	"bytes"
	"compress/gzip"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// compressed gives the data as a compressor writes it.
func compressed(t *testing.T, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := open(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestFormatsAreRecognizedByTheirContent(t *testing.T) {
	t.Parallel()
	text := []byte("some text")
	zip := func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }
	zst := func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }
	xzw := func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }
	skipped := []byte("\x5f\x2a\x4d\x18\x02\x00\x00\x00xx")
	for name, test := range map[string]struct {
		data []byte
		want Format
	}{
		"plain": {text, None}, "gzip": {compressed(t, text, zip), Gzip}, "zstd": {compressed(t, text, zst), Zstd},
		"xz": {compressed(t, text, xzw), XZ}, "skipped frame": {append(skipped, compressed(t, text, zst)...), Zstd},
	} {
		s, err := New(iotest.OneByteReader(bytes.NewReader(test.data)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := io.ReadAll(s)
		if s.Close(); err != nil || s.Format != test.want || !bytes.Equal(got, text) {
			t.Errorf("%s: %q as %q, %v", name, got, s.Format, err)
		}
	}
	for _, short := range []string{"", "B", "BZh", "\x1f"} {
		if s, err := New(strings.NewReader(short)); err != nil {
			t.Errorf("%q: %v", short, err)
		} else {
			s.Close()
		}
	}
}

func TestDamageIsToldFromOtherErrors(t *testing.T) {
	t.Parallel()
	data := compressed(t, bytes.Repeat([]byte("text"), 1000),
		func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
	wrong := bytes.Clone(data)
	wrong[len(wrong)-8] ^= 1
	for name, test := range map[string]struct {
		r    io.Reader
		want bool
	}{
		"cut":      {bytes.NewReader(data[:len(data)-10]), true},
		"checksum": {bytes.NewReader(wrong), true},
		"other":    {io.MultiReader(bytes.NewReader(data[:20]), iotest.ErrReader(errors.New("no disk"))), false},
	} {
		s, err := New(test.r)
		if err == nil {
			_, err = io.ReadAll(s)
		}
		if err == nil || IsDamage(err) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnXZFileCantAskForGigabytes(t *testing.T) {
	data := compressed(t, []byte("some text"), func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })
	// The first block's header follows the stream's 12 bytes; the dictionary size is the byte after filter ID and size.
	head := data[12 : 12+(int(data[12])+1)*4]
	at := bytes.Index(head, []byte{0x21, 1})
	head[at+2] = 39
	sum := crc32.ChecksumIEEE(head[:len(head)-4])
	for n := range 4 {
		head[len(head)-4+n] = byte(sum >> (8 * n))
	}
	_, err := io.ReadAll(newXZReader(bytes.NewReader(data)))
	if err == nil || !strings.Contains(err.Error(), "needs a dictionary of 3072 MiB") {
		t.Errorf("got %v", err)
	}
}

func TestXZMatchesTheLibrary(t *testing.T) {
	for _, config := range []xz.WriterConfig{{CheckSum: xz.CRC32}, {CheckSum: xz.CRC64}, {CheckSum: xz.SHA256},
		{NoCheckSum: true}, {BlockSize: 5000}} {
		want := bytes.Repeat([]byte("some text that repeats itself, "), 3000)
		data := compressed(t, want, func(w io.Writer) (io.WriteCloser, error) { return config.NewWriter(w) })
		got, err := io.ReadAll(newXZReader(bytes.NewReader(data)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%+v: %d bytes, %v", config, len(got), err)
		}
		if !config.NoCheckSum {
			data[len(data)/2] ^= 1
			if _, err := io.ReadAll(newXZReader(bytes.NewReader(data))); err == nil {
				t.Errorf("%+v: damage isn't noticed", config)
			}
		}
	}
}
