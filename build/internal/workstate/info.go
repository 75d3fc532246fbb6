package workstate

import (
	"encoding/json"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
)

// Info is what people are shown of a working container or an image, with the names that buildah gives it.
type Info struct {
	Type, FromImage, FromImageID, FromImageDigest    string
	Config, Manifest                                 string
	Container, ContainerID, MountPoint, ProcessLabel string
	MountLabel                                       string
	ImageAnnotations                                 map[string]string
	ImageCreatedBy                                   string
	OCIv1                                            ocispec.Image
	Docker                                           DockerImage
	DefaultMountsFilePath, Isolation                 string
	NamespaceOptions                                 []Namespace
	Capabilities                                     []string
	ConfigureNetwork, CNIPluginPath, CNIConfigDir    string
	IDMappingOptions                                 json.RawMessage
	History                                          []imagebuilder.History
	Devices                                          json.RawMessage
}

// Info is the state as people are shown it.
func (s *State) Info() Info {
	s.settle()
	return Info{
		Type: s.Type, FromImage: s.FromImage, FromImageID: s.FromImageID, FromImageDigest: s.FromImageDigest,
		Config: string(s.Config), Manifest: string(s.Manifest), Container: s.Container, ContainerID: s.ContainerID,
		MountPoint: s.MountPoint, ProcessLabel: s.ProcessLabel, MountLabel: s.MountLabel,
		ImageAnnotations: s.Annotations, ImageCreatedBy: s.CreatedBy, OCIv1: s.OCI, Docker: s.Docker,
		Isolation: s.Isolation.String(), NamespaceOptions: s.Namespaces,
		Capabilities:     slices.Sorted(slices.Values(s.Capabilities)),
		ConfigureNetwork: s.ConfigureNetwork.String(), IDMappingOptions: orNull(s.IDMapping),
		History: slices.Concat(s.OCI.History, s.Prepended, s.Appended), Devices: orNull(s.rest["Devices"]),
	}
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
