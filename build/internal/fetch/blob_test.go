package fetch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
	"github.com/cooperbuild/cooper/build/outfile"
)

func TestABlobIsKeptCountedAndRemoved(t *testing.T) {
	t.Parallel()
	c := openSources(t)
	text := strings.Repeat("x", 20_000)
	d := ocispec.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	nameless, err := outfile.Unnamed(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer nameless.Close()
	if _, err := nameless.WriteString(text); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is there
		if err := c.KeepBlob(t.Context(), d.Digest, "label", nameless); err != nil {
			t.Fatal(err)
		}
	}
	f, err := c.Blob(t.Context(), d)
	if err != nil || f == nil {
		t.Fatalf("%v, %v", f, err)
	}
	defer f.Close()
	items := c.listed(t, shelf.Blobs)
	if len(items) != 1 || items[0].Label != "label" || items[0].Size.Bytes < d.Size ||
		time.Since(items[0].LastUse) > time.Minute || items[0].About != "compressed layer" {
		t.Fatalf("listed are %+v", items)
	}
	if gone, err := c.RemoveItem(items[0].ID, time.Now()); !gone || err != nil {
		t.Errorf("gone %v, %v", gone, err)
	}
	if err := isBlob(f, d); err != nil {
		t.Errorf("whoever has it open reads on: %v", err)
	}
	if again, err := c.Blob(t.Context(), d); again != nil || err != nil {
		t.Errorf("afterwards there is %v, %v", again, err)
	}
	if left := c.listed(t, shelf.Blobs); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
}

func TestWhatIsKeptOfAFileWithoutANameIsNoCopy(t *testing.T) {
	t.Parallel()
	c := openSources(t)
	nameless, err := outfile.Unnamed(c.kept.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer nameless.Close()
	if err := c.KeepBlob(t.Context(), digest.FromString(""), "label", nameless); err != nil {
		t.Fatal(err)
	}
	kept, err := os.Stat(filepath.Join(c.blobEntry(digest.FromString("")), blobFile))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := nameless.Stat(); err != nil || !os.SameFile(info, kept) {
		t.Errorf("it was copied: %v", err)
	}
}
