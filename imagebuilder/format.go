package imagebuilder

import (
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Format says whether a manifest has the media types of OCI or of Docker. The config is the same JSON in both formats,
// and so is the image ID. The fields of [Config] that are Docker's additions are written in both, but podman and
// buildah read them only if the manifest has Docker's media types.
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

// ParseFormat reads the name of a format. v2s2 is the name that podman push and skopeo have for Docker's format.
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

// Layer is the media type, in this format, of a layer that has the media type ociType in OCI's. OCI puts a "+" before
// the name of the compression, Docker a dot.
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
