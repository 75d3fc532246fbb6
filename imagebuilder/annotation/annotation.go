// Package annotation reads which annotations an image gets, and where, as Docker's command line has it.
package annotation

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Place is a document of an image, or the descriptor of one, that has annotations.
type Place string

const (
	// Manifest is the manifest of an image.
	Manifest Place = "manifest"
	// Index is the index of images for several platforms.
	Index Place = "index"
	// ManifestDescriptor is the entry of a manifest in its index or, if the image has none, in that of a layout.
	ManifestDescriptor Place = "manifest-descriptor"
	// IndexDescriptor is the entry of an index in that of a layout.
	IndexDescriptor Place = "index-descriptor"
)

func places() []string {
	return []string{string(Index), string(IndexDescriptor), string(Manifest), string(ManifestDescriptor)}
}

// Annotation is one annotation of an image or index.
type Annotation struct {
	Place Place
	// Platform, in the form that [platforms.Format] gives, says which image's manifest it is; empty: the manifest of each.
	Platform   string
	Key, Value string
}

// Set are annotations in the order in which they were given. The zero value has none.
type Set []Annotation

// OfField reads a field of an output: annotation.KEY=VALUE, with the place and the platform as in
// annotation-manifest[linux/amd64].KEY=VALUE. The result is false if the name is not that of an annotation.
func OfField(name, value string) (a Annotation, is bool, err error) {
	const first = "annotation"
	rest, is := strings.CutPrefix(name, first)
	where, key, dot := strings.Cut(rest, ".")
	if !is || !dot || where != "" && where[0] != '-' && where[0] != '[' {
		return a, false, nil
	}
	if where == "" || where[0] == '[' {
		where = string(Manifest) + where
	} else {
		where = where[1:]
	}
	a, err = parse(where, key, value)
	if err != nil {
		err = fmt.Errorf("%s=%s: %w", name, value, err)
	}
	return a, true, err
}

// OfFlag reads a value of --annotation: KEY=VALUE, with places before it as in
// index,manifest[linux/amd64]:KEY=VALUE. It is one annotation for each place.
func OfFlag(text string) (all Set, err error) {
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		return nil, fmt.Errorf("%q: must be KEY=VALUE", text)
	}
	where := string(Manifest)
	if before, after, given := strings.Cut(key, ":"); given {
		where, key = before, after
	}
	for one := range strings.SplitSeq(where, ",") {
		a, err := parse(one, key, value)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		all = append(all, a)
	}
	return all, nil
}

// parse makes an annotation for a place such as manifest[linux/amd64].
func parse(where, key, value string) (Annotation, error) {
	place, platform, given := strings.Cut(where, "[")
	a := Annotation{Place: Place(place), Key: key, Value: value}
	switch {
	case !slices.Contains(places(), place):
		return a, fmt.Errorf("%q is no place of an annotation; these are %s", place, strings.Join(places(), ", "))
	case key == "":
		return a, errors.New("the annotation has no key")
	case !given:
		return a, nil
	}
	platform, closed := strings.CutSuffix(platform, "]")
	if !closed || platform == "" {
		return a, fmt.Errorf("%q: a platform is in brackets, as in manifest[linux/amd64]", where)
	}
	if a.Place == Index || a.Place == IndexDescriptor {
		return a, fmt.Errorf("%q: an index has no platform", where)
	}
	p, err := platforms.Parse(platform)
	if err != nil {
		return a, fmt.Errorf("platform %q: %w", platform, err)
	}
	a.Platform = normal(p)
	return a, nil
}

func normal(p ocispec.Platform) string { return platforms.Format(platforms.Normalize(p)) }

// Manifest are the annotations of the manifest of the image for a platform. Those for the platform win over those for
// all. It is nil if there are none; so are the others.
func (s Set) Manifest(p ocispec.Platform) map[string]string { return s.of(Manifest, normal(p)) }

// ManifestDescriptor are the annotations of the entry of that manifest.
func (s Set) ManifestDescriptor(p ocispec.Platform) map[string]string {
	return s.of(ManifestDescriptor, normal(p))
}

// Index are the annotations of the index.
func (s Set) Index() map[string]string { return s.of(Index, "") }

// IndexDescriptor are the annotations of the entry of the index.
func (s Set) IndexDescriptor() map[string]string { return s.of(IndexDescriptor, "") }

func (s Set) of(place Place, platform string) (all map[string]string) {
	for _, want := range slices.Compact([]string{"", platform}) {
		for _, a := range s {
			if a.Place == place && a.Platform == want {
				if all == nil {
					all = map[string]string{}
				}
				all[a.Key] = a.Value
			}
		}
	}
	return all
}

// Check refuses annotations for images that there are not: there is one for each of the platforms and, if there are
// several, an index.
func (s Set) Check(of []ocispec.Platform) error {
	for _, a := range s {
		switch {
		case len(of) < 2 && (a.Place == Index || a.Place == IndexDescriptor):
			return fmt.Errorf("annotation %s of the %s: an image for one platform has no index", a.Key, a.Place)
		case a.Platform != "" && !slices.ContainsFunc(of, func(p ocispec.Platform) bool { return normal(p) == a.Platform }):
			return fmt.Errorf("annotation %s of the %s: there is no image for %s", a.Key, a.Place, a.Platform)
		}
	}
	return nil
}
