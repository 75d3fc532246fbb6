package imagetar_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/imagetar"
	"github.com/cooperbuild/cooper/build/registry/content"
)

// packed is an archive of members, by turns a name and a text.
func packed(f *testing.F, members ...string) []byte {
	f.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		err := w.WriteHeader(&tar.Header{Name: members[i], Mode: 0o644, Size: int64(len(members[i+1]))})
		if err == nil {
			_, err = io.WriteString(w, members[i+1])
		}
		if err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	return b.Bytes()
}

// FuzzImages reads all that an archive has of images but the layers.
func FuzzImages(f *testing.F) {
	const config = `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:` +
		`e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}`
	f.Add(packed(f, "manifest.json", `[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l/layer.tar"]}]`, "c.json", config,
		"l/layer.tar", ""))
	f.Add(packed(f, "oci-layout", `{"imageLayoutVersion":"1.0.0"}`, "index.json", `{"schemaVersion":2,"manifests":[`+
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:`+
		`e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,`+
		`"annotations":{"org.opencontainers.image.ref.name":"1"}}]}`, "blobs/sha256/"+
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", ""))
	f.Add([]byte("\x1f\x8b"))
	dir := f.TempDir()
	spool := func() (*os.File, error) { return os.CreateTemp(dir, "") }
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file.Name())
		defer file.Close()
		if _, err = file.Write(data); err == nil {
			_, err = file.Seek(0, io.SeekStart)
		}
		if err != nil {
			t.Fatal(err)
		}
		from, err := imagetar.Read(context.Background(), "archive", file, spool)
		if err != nil {
			return
		}
		defer func() { _ = from.Close() }()
		all, err := from.Images()
		if err != nil {
			return
		}
		for _, image := range all {
			img, err := content.ReadImage(context.Background(), from, image.Root, ocispec.Platform{})
			if err == nil && len(img.Layers) != len(img.DiffIDs) {
				t.Errorf("%d layers and %d diff IDs", len(img.Layers), len(img.DiffIDs))
			}
		}
	})
}
