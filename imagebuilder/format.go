package imagebuilder

import (
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Format says whose media types a manifest has. The config is the same JSON in both, and with it the image ID: what
// [Config] has that is Docker's only stands in either, but podman and buildah look at it only where the manifest is
// Docker's.
type Format string

// The formats.
const (
	OCI    Format = "oci"
	Docker Format = "docker"
)

// Docker's media types: https://distribution.github.io/distribution/spec/manifest-v2-2/
const (
	TypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	TypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	TypeDockerConfig   = "application/vnd.docker.container.image.v1+json"
	TypeDockerLayer    = "application/vnd.docker.image.rootfs.diff.tar"
)

// ParseFormat reads a format's name. v2s2 is what podman push and skopeo call Docker's.
func ParseFormat(text string) (Format, error) {
	switch text {
	case "oci":
		return OCI, nil
	case "docker", "v2s2":
		return Docker, nil
	case "v2s1":
		return "", fmt.Errorf("%q is Docker's old format, which is no longer written: must be oci or docker", text)
	}
	return "", fmt.Errorf("%q is not a format: must be oci or docker", text)
}

// Index is the media type of an index.
func (f Format) Index() string { return f.choose(ocispec.MediaTypeImageIndex, TypeDockerList) }

// Manifest is the media type of an image's manifest.
func (f Format) Manifest() string {
	return f.choose(ocispec.MediaTypeImageManifest, TypeDockerManifest)
}

// Config is the media type of a config.
func (f Format) Config() string { return f.choose(ocispec.MediaTypeImageConfig, TypeDockerConfig) }

// Layer is the media type of a layer whose OCI type is given. Docker's names the compression after a dot.
func (f Format) Layer(ociType string) string {
	_, compression, ok := strings.Cut(ociType, "+")
	if ok {
		compression = "." + compression
	}
	return f.choose(ociType, TypeDockerLayer+compression)
}

func (f Format) choose(oci, docker string) string {
	if f == Docker {
		return docker
	}
	return oci
}

// DockerOnly are the instructions whose results podman and buildah read in Docker's format only, in the order in which
// they are in the config.
func (c Config) DockerOnly() []string {
	var all []string
	if c.Healthcheck != nil {
		all = append(all, "HEALTHCHECK")
	}
	if len(c.OnBuild) > 0 {
		all = append(all, "ONBUILD")
	}
	if len(c.Shell) > 0 {
		all = append(all, "SHELL")
	}
	return all
}
