package content_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

// layout writes a layout with images of the given tags; "" is one without.
func layout(t *testing.T, tags ...string) (dir string, all []ocispec.Descriptor) {
	t.Helper()
	dir = t.TempDir()
	has := blobs{}
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
	index.SchemaVersion = 2
	for i, tag := range tags {
		d := has.image(t, []byte(fmt.Sprint("image ", i)), amd64())
		if tag != "" {
			d.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
		}
		index.Manifests = append(index.Manifests, d)
	}
	for named, text := range has {
		registrytest.Write(t, filepath.Join(dir, "blobs/sha256", named.Encoded()), string(text))
	}
	text, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	registrytest.Write(t, dir+"/index.json", string(text))
	registrytest.Write(t, dir+"/oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	return dir, index.Manifests
}

func TestImagesOfALayoutAreFound(t *testing.T) {
	dir, all := layout(t, "a", "latest", "")
	l, err := content.OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // it is only read
	for _, c := range []struct {
		tag    string
		digest digest.Digest
		want   digest.Digest
		errs   []string
	}{
		{"a", "", all[0].Digest, nil}, {"", "", all[1].Digest, nil}, {"", all[2].Digest, all[2].Digest, nil},
		{"a", all[2].Digest, all[2].Digest, nil},
		{"b", "", "", []string{`"b"`, "a latest"}},
		{"", digest.FromString("x"), "", []string{digest.FromString("x").String()}},
	} {
		got, err := l.Resolve(c.tag, c.digest)
		registrytest.Wants(t, err, c.errs...)
		if got.Digest != c.want {
			t.Errorf("%s@%s: %s, want %s", c.tag, c.digest, got.Digest, c.want)
		}
		if err == nil {
			if _, err := content.ReadImage(t.Context(), l, got, amd64()); err != nil {
				t.Error(err)
			}
		}
	}
	one, all := layout(t, "only")
	l, err = content.OpenLayout(one)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // it is only read
	if got, err := l.Resolve("", ""); err != nil || got.Digest != all[0].Digest {
		t.Errorf("the only image: %s, %v", got.Digest, err)
	}
}

func TestALayoutCannotLeadOutOfItsDirectory(t *testing.T) {
	for name, spoil := range map[string]func(dir, blob string) error{
		"symbolic link": func(_, blob string) error { return os.Symlink("/etc/passwd", blob) },
		"dots":          func(_, blob string) error { return os.Symlink("../../../../../../../../etc/passwd", blob) },
		"directory":     func(_, blob string) error { return os.Mkdir(blob, 0o700) },
		"other bytes":   func(_, blob string) error { return os.WriteFile(blob, []byte("x"), 0o600) },
		"missing":       func(_, _ string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			dir, all := layout(t, "a")
			blob := filepath.Join(dir, "blobs/sha256", all[0].Digest.Encoded())
			if err := os.Remove(blob); err != nil {
				t.Fatal(err)
			}
			if err := spoil(dir, blob); err != nil {
				t.Fatal(err)
			}
			l, err := content.OpenLayout(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }() // it is only read
			if _, err := content.ReadImage(t.Context(), l, all[0], amd64()); err == nil {
				t.Error("it was read")
			}
		})
	}
	_, err := content.OpenLayout(t.TempDir())
	registrytest.Wants(t, err, "is not an OCI layout")
	dir, _ := layout(t, "a")
	registrytest.Write(t, dir+"/oci-layout", `{"imageLayoutVersion":"2.0.0"}`)
	_, err = content.OpenLayout(dir)
	registrytest.Wants(t, err, "version")
}

func TestNamesOfLayoutsAreSplit(t *testing.T) {
	sha := digest.FromString("x")
	for text, want := range map[string]content.LayoutName{
		"dir": {Dir: "dir"}, "dir:tag": {Dir: "dir", Tag: "tag"}, "/a:b/dir": {Dir: "/a:b/dir"},
		"/a:b/dir:t":          {Dir: "/a:b/dir", Tag: "t"},
		"dir@" + sha.String(): {Dir: "dir", Digest: sha}, "dir:t@" + sha.String(): {Dir: "dir", Tag: "t", Digest: sha},
	} {
		if got, err := content.ParseLayoutName(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ":t", "dir@x", "@" + sha.String()} {
		if got, err := content.ParseLayoutName(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
