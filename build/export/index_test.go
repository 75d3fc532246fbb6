package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder/annotation"
)

// sampleImages are images for three platforms that share a layer.
func sampleImages(t *testing.T) []Image {
	t.Helper()
	shared := blobOf(layerTar(t, "shared", 3000))
	var images []Image
	for _, p := range []ocispec.Platform{
		{OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "arm", Variant: "v6"},
		{OS: "wasip1", Architecture: "wasm"},
	} {
		image := imageOf(t, shared, blobOf(layerTar(t, p.Architecture, 100)))
		image.Platform, image.Names = p, []string{"localhost/app:v1"}
		images = append(images, image)
	}
	return images
}

// annotations are some in each place.
func annotations(t *testing.T) (all annotation.Set) {
	t.Helper()
	for _, text := range []string{"a=manifest", "manifest[linux/arm64]:a=arm64", "manifest-descriptor:a=entry",
		"index:a=index", "index-descriptor:a=index-descriptor"} {
		one, err := annotation.OfFlag(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, one...)
	}
	return all
}

func TestAnnotationsOfWhatIsNotWrittenAreRefused(t *testing.T) {
	dir := t.TempDir()
	index := Spec{Type: TypeOCI, Dest: filepath.Join(dir, "a"), Annotations: annotations(t)}
	if _, err := Write(t.Context(), index, sampleImage(t), nil); err == nil || !strings.Contains(err.Error(),
		"there is no image for linux/arm64") {
		t.Errorf("an image for another platform: %v", err)
	}
	index.Annotations = index.Annotations[3:]
	if _, err := Write(t.Context(), index, sampleImage(t), nil); err == nil || !strings.Contains(err.Error(),
		"has no index") {
		t.Errorf("an index of one image: %v", err)
	}
	if left := names(t, dir); left != "[]" {
		t.Errorf("left behind: %s", left)
	}
	one := Spec{Type: TypeOCI, Dest: filepath.Join(dir, "b"), Directory: true,
		Annotations: annotations(t)[2:3]}
	write(t, one, sampleImage(t))
	entry := indexOf(t, readDir(t, one.Dest)).Manifests[0]
	if entry.Annotations["a"] != "entry" || entry.Annotations[ocispec.AnnotationRefName] != "v1" {
		t.Errorf("the entry has the annotations %v", entry.Annotations)
	}
}

func TestAnIndexHasTheImagesOfAllPlatforms(t *testing.T) {
	images := sampleImages(t)
	for _, c := range []Compression{Gzip, Uncompressed} {
		for _, directory := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s directory=%v", c, directory), func(t *testing.T) {
				dest := filepath.Join(t.TempDir(), "out")
				spec := Spec{Type: TypeOCI, Dest: dest, Directory: directory, Compression: c,
					Annotations: annotations(t)}
				result, err := WriteIndex(t.Context(), spec, images, nil)
				if err != nil {
					t.Fatal(err)
				}
				var files map[string][]byte
				if directory {
					files = readDir(t, dest)
				} else {
					data, err := os.ReadFile(dest)
					if err != nil {
						t.Fatal(err)
					}
					files = untar(t, data) // which refuses a member that is there twice
				}
				entries := indexOf(t, files).Manifests
				if len(entries) != 1 || entries[0].Digest != result.Manifest.Digest ||
					entries[0].MediaType != ocispec.MediaTypeImageIndex ||
					entries[0].Platform != nil || entries[0].Annotations[ocispec.AnnotationRefName] != "v1" ||
					entries[0].Annotations["a"] != "index-descriptor" {
					t.Fatalf("the layout has %+v", entries)
				}
				var index ocispec.Index
				if err := json.Unmarshal(checkedBlob(t, files, entries[0]), &index); err != nil {
					t.Fatal(err)
				}
				if len(index.Manifests) != len(images) || index.Annotations["a"] != "index" {
					t.Fatalf("the index is %+v", index)
				}
				for n, d := range index.Manifests {
					image := images[n]
					checkLayout(t, files, d, image)
					var m ocispec.Manifest
					if err := json.Unmarshal(checkedBlob(t, files, d), &m); err != nil {
						t.Fatal(err)
					}
					want := "manifest"
					if d.Platform.Architecture == "arm64" {
						want = "arm64"
					}
					if m.Annotations["a"] != want || d.Annotations["a"] != "entry" {
						t.Errorf("image %d has the annotations %v, its entry %v", n, m.Annotations, d.Annotations)
					}
					if d.Platform == nil || d.Platform.Architecture != image.Platform.Architecture ||
						d.Platform.Variant != image.Platform.Variant {
						t.Errorf("image %d is for %+v", n, d.Platform)
					}
				}
			})
		}
	}
}

func TestAnIndexOfNothingOrForDockerIsRefused(t *testing.T) {
	dir := t.TempDir()
	images := sampleImages(t)
	_, err := WriteIndex(t.Context(), Spec{Type: TypeDocker, Dest: filepath.Join(dir, "a")}, images, nil)
	if !errors.Is(err, ErrManyPlatforms) {
		t.Error(err)
	}
	if _, err := WriteIndex(t.Context(), Spec{Type: TypeOCI, Dest: filepath.Join(dir, "a")}, nil, nil); err == nil {
		t.Error("an index of nothing is written")
	}
	images[1].Config = []byte("{}")
	if _, err := WriteIndex(t.Context(), Spec{Type: TypeOCI, Dest: filepath.Join(dir, "a")}, images, nil); err == nil {
		t.Error("a config without its layers is written")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WriteIndex(ctx, Spec{Type: TypeOCI, Dest: filepath.Join(dir, "a")}, sampleImages(t), nil); !errors.Is(err,
		context.Canceled) {
		t.Error(err)
	}
	if left := names(t, dir); left != "[]" {
		t.Errorf("left behind: %s", left)
	}
}

func TestTheSameIndexIsTheSameBytes(t *testing.T) {
	images := sampleImages(t)
	var first bytes.Buffer
	for range 5 {
		var out bytes.Buffer
		if _, err := WriteIndex(t.Context(), Spec{Type: TypeOCI, Dest: Stdout}, images, &out); err != nil {
			t.Fatal(err)
		}
		if first.Len() == 0 {
			first = out
		} else if !bytes.Equal(first.Bytes(), out.Bytes()) {
			t.Fatal("two archives of the same images differ")
		}
	}
}
