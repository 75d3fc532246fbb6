package blobs

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// download is what a registry sends; its end may be an error.
type download struct {
	io.Reader
	closed error
}

func (d download) Close() error { return d.closed }

// TestADownloadThatFailsLeavesNoFileOpen has it fail at its end as well, when all bytes have come.
func TestADownloadThatFailsLeavesNoFileOpen(t *testing.T) {
	const text = "a layer"
	broken, full := errors.New("the connection broke"), errors.New("the disk is full")
	blob := ocispec.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	for name, test := range map[string]struct {
		from download
		disk error
		want string // in the error; "": there is none
	}{
		"whole":              {from: download{strings.NewReader(text), nil}},
		"broken when closed": {from: download{strings.NewReader(text), broken}, want: broken.Error()},
		"cut":                {from: download{strings.NewReader(text[1:]), nil}, want: "and it has 6"},
		"cut and broken":     {from: download{io.MultiReader(strings.NewReader("a"), broke{broken}), broken}, want: broken.Error()},
		"no room":            {from: download{strings.NewReader(text), nil}, disk: full, want: full.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			var made *os.File
			came := 0
			r := &Room{Options: Options{Spool: func() (_ *os.File, err error) {
				if test.disk != nil {
					return nil, test.disk
				}
				made, err = os.CreateTemp(t.TempDir(), "")
				return made, err
			}}}
			got, err := r.spool(test.from, blob, func() { came++ })
			if test.want == "" {
				if err != nil || got != made || came == 0 {
					t.Fatalf("%v, %v; %d times it was told that something came", got, err, came)
				}
				if err := got.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			if got != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, %v", got, err)
			}
			if made != nil {
				if _, err := made.Stat(); !errors.Is(err, os.ErrClosed) {
					t.Errorf("the file is left open: %v", err)
				}
			}
		})
	}
}

// broke is a reader that fails.
type broke struct{ err error }

func (b broke) Read([]byte) (int, error) { return 0, b.err }
