package imagebuilder

import (
	"bytes"
	"encoding/json"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Features are what the images of an index need of the machine's processor, by the digests of their manifests. Docker's
// lists have a field for it, which OCI's indexes only reserve.
type Features map[digest.Digest][]string

// featuredEntry is an entry of an index with the field for features.
type featuredEntry struct {
	ocispec.Descriptor
	Platform *featuredPlatform `json:"platform,omitempty"`
}

type featuredPlatform struct {
	ocispec.Platform
	Features []string `json:"features,omitempty"`
}

// ReadFeatures reads the features that the text of an index has; nil: none.
func ReadFeatures(text []byte) Features {
	var index struct {
		Manifests []featuredEntry `json:"manifests"`
	}
	if json.Unmarshal(text, &index) != nil {
		return nil
	}
	all := Features{}
	for _, d := range index.Manifests {
		if d.Platform != nil && len(d.Platform.Features) > 0 {
			all[d.Digest] = d.Platform.Features
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// MarshalIndex is the text of an index whose images need features.
func MarshalIndex(index ocispec.Index, features Features) ([]byte, error) {
	var v any = index
	if len(features) > 0 {
		featured := struct {
			ocispec.Index
			Manifests []featuredEntry `json:"manifests"`
		}{Index: index}
		for _, d := range index.Manifests {
			e := featuredEntry{Descriptor: d}
			if d.Platform != nil || features[d.Digest] != nil {
				e.Platform = &featuredPlatform{Features: features[d.Digest]}
			}
			if d.Platform != nil {
				e.Platform.Platform = *d.Platform
			}
			featured.Manifests = append(featured.Manifests, e)
		}
		v = featured
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // no reader of an index expects the escapes
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}
