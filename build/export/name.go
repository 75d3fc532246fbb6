package export

import (
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// annotationName is where containerd and Docker look for an image's full name in index.json.
const annotationName = "io.containerd.image.name"

// imageName is a full name with its tag.
type imageName struct{ full, tag string }

// parseNames checks names, adds "latest" where the tag is missing, and drops repeats. The order stays.
func parseNames(names []string) ([]imageName, error) {
	var out []imageName
	for _, s := range names {
		ref, err := reference.ParseBare(s)
		if err != nil {
			return nil, fmt.Errorf("image name %q: %w", s, err)
		}
		if ref.Digest != "" {
			return nil, fmt.Errorf("image name %q: must be NAME or NAME:TAG", s)
		}
		ref = ref.WithLatest()
		name := imageName{full: ref.String(), tag: ref.Tag}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out, nil
}

// indexEntries makes the manifest's entries in index.json: one a name, or one without a name. All have the annotations
// of manifest.
func indexEntries(manifest ocispec.Descriptor, platform ocispec.Platform, names []imageName) []ocispec.Descriptor {
	if platform.OS != "" {
		manifest.Platform = &platform
	}
	if len(names) == 0 {
		return []ocispec.Descriptor{manifest}
	}
	var entries []ocispec.Descriptor
	for _, n := range names {
		entry := manifest
		entry.Annotations = mergeMaps(manifest.Annotations,
			map[string]string{ocispec.AnnotationRefName: n.tag, annotationName: n.full})
		entries = append(entries, entry)
	}
	return entries
}

// mergeIndex adds entries to an index as skopeo does: an entry with the same tag is replaced, one without a tag is
// added unless the same manifest is there.
func mergeIndex(old, entries []ocispec.Descriptor) []ocispec.Descriptor {
	kept := slices.DeleteFunc(slices.Clone(old), func(d ocispec.Descriptor) bool {
		tag := d.Annotations[ocispec.AnnotationRefName]
		return tag != "" && slices.ContainsFunc(entries, func(e ocispec.Descriptor) bool {
			return e.Annotations[ocispec.AnnotationRefName] == tag
		})
	})
	for _, e := range entries {
		there := slices.ContainsFunc(kept, func(d ocispec.Descriptor) bool { return d.Digest == e.Digest })
		if e.Annotations[ocispec.AnnotationRefName] == "" && there {
			continue
		}
		kept = append(kept, e)
	}
	return kept
}

// blobPath is where a blob lies in a layout.
func blobPath(d ocispec.Descriptor) string {
	return strings.Join([]string{ocispec.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded()}, "/")
}
