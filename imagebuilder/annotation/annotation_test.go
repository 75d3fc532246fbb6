package annotation

import (
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestFieldsSayWhereAnAnnotationGoes(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Annotation{
		"annotation.Org.x":                               {Manifest, "", "Org.x", "v"},
		"annotation[linux/arm64/v8].x":                   {Manifest, "linux/arm64", "x", "v"},
		"annotation-manifest.x.y":                        {Manifest, "", "x.y", "v"},
		"annotation-manifest[linux/arm/v7].x":            {Manifest, "linux/arm/v7", "x", "v"},
		"annotation-index.x":                             {Index, "", "x", "v"},
		"annotation-index-descriptor.x":                  {IndexDescriptor, "", "x", "v"},
		"annotation-manifest-descriptor.x":               {ManifestDescriptor, "", "x", "v"},
		"annotation-manifest-descriptor[linux/x86_64].x": {ManifestDescriptor, "linux/amd64", "x", "v"},
	} {
		got, is, err := OfField(name, "v")
		if err != nil || !is || got != want {
			t.Errorf("%s: got %+v, %t, %v", name, got, is, err)
		}
	}
	for _, name := range []string{"annotations.x", "name", "annotation", "annotation-index", "annotationx.y", ""} {
		if got, is, err := OfField(name, "v"); is || err != nil {
			t.Errorf("%s: got %+v, %t, %v", name, got, is, err)
		}
	}
}

func TestFlagsSayWhereAnAnnotationGoes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Set{
		"x=v":                 {{Manifest, "", "x", "v"}},
		"x=":                  {{Manifest, "", "x", ""}},
		"x=a:b=c":             {{Manifest, "", "x", "a:b=c"}},
		"index:x=v":           {{Index, "", "x", "v"}},
		"index,manifest:x=v":  {{Index, "", "x", "v"}, {Manifest, "", "x", "v"}},
		"index-descriptor:x=": {{IndexDescriptor, "", "x", ""}},
		"manifest[linux/arm64],manifest-descriptor[linux/s390x]:x=v": {
			{Manifest, "linux/arm64", "x", "v"}, {ManifestDescriptor, "linux/s390x", "x", "v"}},
	} {
		got, err := OfFlag(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
}

func TestAnAnnotationThatIsNoneSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"x": "must be KEY=VALUE", "": "must be KEY=VALUE", "=v": "has no key", "index:=v": "has no key",
		"org:x=v": `"org" is no place of an annotation; these are index, index-descriptor, manifest, manifest-descriptor`,
		":x=v":    "is no place", "index,:x=v": "is no place", "index[linux/amd64]:x=v": "an index has no platform",
		"manifest[]:x=v": "in brackets", "manifest[linux/amd64:x=v": "in brackets", "manifest[a/b/c/d]:x=v": "platform",
		"manifest]linux[:x=v": "is no place",
	} {
		if got, err := OfFlag(text); err == nil || !strings.Contains(err.Error(), says) || got != nil {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for name, says := range map[string]string{
		"annotation.": "has no key", "annotation-layer.x": `"layer" is no place`, "annotation-.x": "is no place",
		"annotation[].x": "in brackets", "annotation-index[linux/amd64].x": "an index has no platform",
	} {
		if _, is, err := OfField(name, "v"); !is || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %t, %v", name, is, err)
		}
	}
}

func all(t *testing.T, texts ...string) (s Set) {
	t.Helper()
	for _, text := range texts {
		one, err := OfFlag(text)
		if err != nil {
			t.Fatal(err)
		}
		s = append(s, one...)
	}
	return s
}

func TestAnnotationsOfAPlatformWin(t *testing.T) {
	t.Parallel()
	s := all(t, "manifest[linux/arm64]:a=arm", "a=1", "a=2", "b=3", "manifest-descriptor,index:c=4",
		"index-descriptor:d=5")
	arm, amd := platforms.MustParse("linux/arm64/v8"), platforms.MustParse("linux/amd64")
	for name, test := range map[string]struct{ got, want map[string]string }{
		"arm64":            {s.Manifest(arm), map[string]string{"a": "arm", "b": "3"}},
		"amd64":            {s.Manifest(amd), map[string]string{"a": "2", "b": "3"}},
		"descriptor":       {s.ManifestDescriptor(amd), map[string]string{"c": "4"}},
		"index":            {s.Index(), map[string]string{"c": "4"}},
		"index-descriptor": {s.IndexDescriptor(), map[string]string{"d": "5"}},
		"none":             {Set(nil).Manifest(amd), nil},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestAnnotationsOfWhatIsNotThereAreRefused(t *testing.T) {
	t.Parallel()
	arm, amd := platforms.MustParse("linux/arm64/v8"), platforms.MustParse("linux/amd64")
	one, two := []ocispec.Platform{amd}, []ocispec.Platform{amd, arm}
	for _, c := range []struct {
		text string
		of   []ocispec.Platform
		says string
	}{
		{"a=1", one, ""}, {"manifest[linux/amd64]:a=1", one, ""}, {"manifest-descriptor:a=1", one, ""},
		{"index,index-descriptor:a=1", two, ""}, {"manifest[linux/arm64]:a=1", two, ""},
		{"index:a=1", one, "annotation a of the index: an image for one platform has no index"},
		{"index-descriptor:a=1", one, "has no index"}, {"manifest[linux/arm64]:a=1", one, "no image for linux/arm64"},
		{"manifest-descriptor[linux/s390x]:a=1", two, "no image for linux/s390x"},
	} {
		err := all(t, c.text).Check(c.of)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", c.text, err)
		}
	}
}
