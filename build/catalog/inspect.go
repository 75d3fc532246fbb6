package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// Description is all that is known of an image. The names are those of podman's JSON, of which docker's are a part;
// docker alone has DockerVersion, Descriptor, Config.Healthcheck, Config.OnBuild and Config.Shell.
type Description struct {
	ID          string        `json:"Id"`
	Digest      digest.Digest `json:"Digest"`
	RepoTags    []string      `json:"RepoTags"`
	RepoDigests []string      `json:"RepoDigests"`
	// Parent is the ID of an image that lacks only the last step; empty: the store has none.
	Parent  string              `json:"Parent"`
	Comment string              `json:"Comment"`
	Created *Time               `json:"Created"`
	Config  imagebuilder.Config `json:"Config"`
	// Version is that of the docker that made the image, if one did; DockerVersion is docker's name of it.
	Version       string `json:"Version"`
	DockerVersion string `json:"DockerVersion"`
	Author        string `json:"Author"`
	Architecture  string `json:"Architecture"`
	Variant       string `json:"Variant,omitempty"`
	Os            string `json:"Os"`
	OsVersion     string `json:"OsVersion,omitempty"`
	// Size and VirtualSize are the same: the bytes of layers, contents and records.
	Size        int64             `json:"Size"`
	VirtualSize int64             `json:"VirtualSize"`
	GraphDriver Driver            `json:"GraphDriver"`
	RootFS      RootFS            `json:"RootFS"`
	Labels      map[string]string `json:"Labels"`
	// Annotations are those of the manifest.
	Annotations  map[string]string      `json:"Annotations"`
	ManifestType string                 `json:"ManifestType"`
	User         string                 `json:"User"`
	History      []imagebuilder.History `json:"History"`
	// NamesHistory are all names that the image has ever had.
	NamesHistory []string                  `json:"NamesHistory"`
	Healthcheck  *imagebuilder.Healthcheck `json:"Healthcheck,omitempty"`
	// Descriptor is that of the manifest.
	Descriptor ocispec.Descriptor `json:"Descriptor"`
}

// Driver says how the store keeps an image's top layer.
type Driver struct {
	Name string            `json:"Name"`
	Data map[string]string `json:"Data"`
}

// RootFS has the digests of an image's uncompressed layers, bottom first.
type RootFS struct {
	Type   string          `json:"Type"`
	Layers []digest.Digest `json:"Layers"`
}

// Time is a time that templates show as docker's do, in RFC 3339, and that has the methods which podman's has.
type Time struct{ time.Time }

// String is the time in RFC 3339, with as many digits of the second as it has.
func (t Time) String() string { return t.Format(time.RFC3339Nano) }

// Inspect describes the image of a name, ID or digest. Of an index it describes the image for the platform; nil: for
// this machine's. A plain image must be for the platform, if one is given.
func Inspect(ctx context.Context, s *session.Session, name string, platform *ocispec.Platform) (Description, error) {
	d, all, err := describe(ctx, s, name, platform)
	if err != nil {
		return Description{}, err
	}
	return descriptionOf(d, all)
}

// describe finds an image, and lists all images, of which some may be steps on the way to it.
func describe(ctx context.Context, s *session.Session, name string,
	platform *ocispec.Platform) (d images.Described, all []images.Listed, err error) {
	depot, err := s.Existing(ctx)
	if err != nil {
		return d, nil, err
	}
	if depot == nil {
		return d, nil, fmt.Errorf("%s: %w", name, images.ErrNoImage)
	}
	want := platforms.DefaultSpec()
	if platform != nil {
		want = *platform
	}
	d, err = depot.Images.Describe(ctx, name, want)
	if err != nil {
		return d, nil, s.Explain(err)
	}
	if platform != nil && d.Image.Platform.OS != "" && !platforms.OnlyStrict(want).Match(d.Image.Platform) {
		return d, nil, fmt.Errorf("image %s is for %s, not for %s: %w", name, platforms.FormatAll(d.Image.Platform),
			platforms.FormatAll(want), images.ErrNoImage)
	}
	all, err = depot.Images.List()
	return d, all, s.Explain(err)
}

func descriptionOf(from images.Described, all []images.Listed) (Description, error) {
	var config struct {
		DockerVersion string `json:"docker_version"`
		Author        string `json:"author"`
		Comment       string `json:"comment"`
	}
	var manifest struct {
		MediaType   string            `json:"mediaType"`
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(from.Config, &config); err != nil {
		return Description{}, fmt.Errorf("read image %s: config: %w", from.Name, err)
	}
	if err := json.Unmarshal(from.Manifest, &manifest); err != nil {
		return Description{}, fmt.Errorf("read image %s: manifest: %w", from.Name, err)
	}

	image, listed := from.Image, from.Listed
	d := Description{
		ID: from.ID, Digest: from.Digest, RepoTags: list(listed.Names), RepoDigests: listed.RepoDigests(),
		Config: image.Config, Version: config.DockerVersion,
		DockerVersion: config.DockerVersion, Author: config.Author,
		Architecture: image.Platform.Architecture, Variant: image.Platform.Variant, Os: image.Platform.OS,
		OsVersion: image.Platform.OSVersion, Size: listed.Size, VirtualSize: listed.Size,
		GraphDriver: Driver{from.Driver, from.DriverData}, RootFS: RootFS{"layers", list(image.DiffIDs)},
		Labels: image.Config.Labels, Annotations: manifest.Annotations, ManifestType: manifest.MediaType,
		User: image.Config.User, History: list(image.History), NamesHistory: listed.OldNames, Comment: config.Comment,
		Healthcheck: image.Config.Healthcheck,
	}
	if image.Created != nil {
		d.Created = &Time{*image.Created}
	}
	slices.Sort(d.RepoDigests)
	for _, l := range all {
		if listed.BuiltOn(l) && len(image.History) == len(l.Image.History)+1 {
			d.Parent = l.ID
		}
	}
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	if d.ManifestType == "" { // OCI's specification doesn't demand it of a manifest
		d.ManifestType = ocispec.MediaTypeImageManifest
	}
	d.Descriptor = ocispec.Descriptor{MediaType: d.ManifestType, Digest: d.Digest, Size: int64(len(from.Manifest))}
	return d, nil
}

// list is never nil, so that it is written as an array.
func list[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}
