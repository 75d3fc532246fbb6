package workstate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
)

// kind is what buildah knows its files by.
const kind = "buildah 0.0.1"

// State is what is known of a working container.
type State struct {
	fields
	// Image is the config of the image that will be made, with the base's layers and history.
	Image imagebuilder.Image
	// rest is what the file has besides.
	rest map[string]json.RawMessage
}

// fields are the parts of the file that are read and written as they are.
type fields struct {
	Type string `json:"type"`
	// FromImage is the name of the base image, FromImageID its ID and FromImageDigest its manifest's digest; empty: there
	// is none.
	FromImage       string `json:"image,omitempty"`
	FromImageID     string `json:"image-id"`
	FromImageDigest string `json:"image-digest"`
	// Config and Manifest are those of the base image.
	Config   []byte `json:"config,omitempty"`
	Manifest []byte `json:"manifest,omitempty"`
	// Container is the container's name, ContainerID its ID and MountPoint where it was mounted last.
	Container    string `json:"container-name,omitempty"`
	ContainerID  string `json:"container-id,omitempty"`
	MountPoint   string `json:"mountpoint,omitempty"`
	ProcessLabel string `json:"process-label,omitempty"`
	MountLabel   string `json:"mount-label,omitempty"`
	// Annotations are those of the image's manifest.
	Annotations map[string]string `json:"annotations,omitempty"`
	// CreatedBy and HistoryComment are for the history entry of the layer.
	CreatedBy      string        `json:"created-by,omitempty"`
	HistoryComment string        `json:"history-comment,omitempty"`
	OCI            ocispec.Image `json:"ociv1"`
	Docker         DockerImage   `json:"docker"`

	Isolation        Isolation       `json:"Isolation"`
	Namespaces       []Namespace     `json:"NamespaceOptions"`
	ConfigureNetwork NetworkPolicy   `json:"ConfigureNetwork"`
	IDMapping        json.RawMessage `json:"IDMappingOptions,omitempty"`
	Capabilities     []string        `json:"Capabilities"`
	// Prepended and Appended are entries of the history without a layer, before and after that of the layer.
	Prepended []imagebuilder.History `json:"PrependedEmptyLayers"`
	Appended  []imagebuilder.History `json:"AppendedEmptyLayers"`
	Common    Common                 `json:"CommonBuildOpts"`
	// TopLayer is the ID of the base image's uppermost layer.
	TopLayer string `json:"TopLayer"`
	// Format is the media type of the manifest that the image gets unless it is said otherwise.
	Format string `json:"Format"`
}

// Base is the image that a container is made from; the zero value is scratch.
type Base struct {
	imagebuilder.Base
	Manifest []byte
	TopLayer string
}

// New is the state of a new container, for a platform that counts if there is no base.
func New(base Base, platform ocispec.Platform, now time.Time) *State {
	s := &State{Image: imagebuilder.Scratch(platform)}
	s.Type, s.Isolation, s.Namespaces = kind, IsolationOCI, usualNamespaces()
	s.IDMapping = json.RawMessage(`{"HostUIDMapping":true,"HostGIDMapping":true,"UIDMap":[],"GIDMap":[]}`)
	s.Capabilities, s.Common = UsualCapabilities(), usualCommon()
	s.Annotations = map[string]string{
		ocispec.AnnotationBaseImageName: base.Name, ocispec.AnnotationBaseImageDigest: base.Digest.String(),
	}
	s.Format = ocispec.MediaTypeImageManifest
	s.OCI.Created, s.Docker.Created = &now, now
	if base.ID == "" {
		return s
	}
	s.Image = base.Image.Clone()
	if s.Image.Created != nil {
		s.OCI.Created, s.Docker.Created = s.Image.Created, *s.Image.Created
	}
	maps.Copy(s.Annotations, base.Annotations)
	s.Annotations[ocispec.AnnotationBaseImageName] = base.Name
	s.Annotations[ocispec.AnnotationBaseImageDigest] = base.Digest.String()
	s.FromImage, s.FromImageID, s.FromImageDigest = base.Name, base.ID, base.Digest.String()
	s.Config, s.Manifest, s.TopLayer = base.Config, base.Manifest, base.TopLayer
	s.Docker.Parent = digest.NewDigestFromEncoded(digest.SHA256, base.ID).String()
	s.Docker.ContainerConfig.Image = base.Name
	return s
}

// Parse reads the file of a container.
func Parse(text []byte) (*State, error) {
	s := &State{}
	if err := json.Unmarshal(text, &s.rest); err != nil {
		return nil, fmt.Errorf("read the state of the container: %w", err)
	}
	if err := json.Unmarshal(text, &s.fields); err != nil {
		return nil, fmt.Errorf("read the state of the container: %w", err)
	}
	if s.Type != kind {
		return nil, fmt.Errorf("read the state of the container: it is of type %q, not %q", s.Type, kind)
	}
	known, err := asMap(fields{})
	if err != nil {
		return nil, err
	}
	for key := range known {
		delete(s.rest, key)
	}
	raw, err := json.Marshal(s.OCI)
	if err != nil {
		return nil, fmt.Errorf("read the state of the container: %w", err)
	}
	if s.Image, err = imagebuilder.ParseImage(raw); err != nil {
		return nil, fmt.Errorf("read the state of the container: %w", err)
	}
	s.Image.Comment = s.Docker.Comment
	if d := s.Docker.Config; d != nil {
		c := &s.Image.Config
		c.Hostname, c.Domainname, c.Healthcheck, c.Shell = d.Hostname, d.Domainname, d.Healthcheck, d.Shell
		c.OnBuild, c.StopTimeout = d.OnBuild, d.StopTimeout
	}
	return s, nil
}

// Text is the file of the container.
func (s *State) Text() ([]byte, error) {
	s.settle()
	all, err := asMap(s.fields)
	if err == nil {
		maps.Copy(all, s.rest)
		var text []byte
		if text, err = json.Marshal(all); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("write the state of the container: %w", err)
}

func asMap(f fields) (all map[string]json.RawMessage, err error) {
	raw, err := json.Marshal(f)
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	return all, err
}

// settle writes the image's config into both forms of it.
func (s *State) settle() {
	i, c := s.Image, s.Image.Config
	s.OCI.Author, s.OCI.Platform = i.Author, i.Platform
	s.OCI.RootFS, s.OCI.History = ocispec.RootFS{}, i.History
	s.OCI.Config = ocispec.ImageConfig{
		User: c.User, ExposedPorts: c.ExposedPorts, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, Volumes: c.Volumes,
		WorkingDir: c.WorkingDir, Labels: c.Labels, StopSignal: c.StopSignal,
	}
	d := &s.Docker
	d.Author, d.Architecture, d.Variant, d.OS = i.Author, i.Platform.Architecture, i.Platform.Variant, i.Platform.OS
	d.OSVersion, d.OSFeatures, d.Comment = i.Platform.OSVersion, i.Platform.OSFeatures, i.Comment
	d.History, d.RootFS = dockerHistory(i.History), &DockerRootFS{Type: "layers", DiffIDs: i.DiffIDs}
	if len(i.DiffIDs) > 0 {
		s.OCI.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: i.DiffIDs}
	}
	if d.Config == nil {
		d.Config = &DockerConfig{}
	}
	d.Config.set(c)
	d.ContainerConfig.set(c)
}

// Layers has the history tell of a number of layers on the base image, the last of which was made at the given time. An
// image that buildah makes has as many entries as layers, and one more of each.
func (s *State) Layers(n int, made time.Time) {
	base, err := s.BaseImage()
	if err != nil || len(base.History) == 0 && len(base.DiffIDs) > 0 {
		return // its history tells of no layers, so it needn't tell of these
	}
	s.Image.History = slices.Clone(base.History)
	for range n {
		s.Image.History = append(s.Image.History, imagebuilder.History{Created: &made, CreatedBy: s.MadeBy()})
	}
}

// BaseImage is the base image as its own config says; the zero value if there is none.
func (s *State) BaseImage() (imagebuilder.Image, error) {
	if len(s.Config) == 0 {
		return imagebuilder.Image{Platform: s.Image.Platform}, nil
	}
	return imagebuilder.ParseImage(s.Config)
}

// MadeBy is what the history says of the layer.
func (s *State) MadeBy() string {
	if s.CreatedBy != "" {
		return s.CreatedBy
	}
	if len(s.Image.Config.Shell) > 0 {
		return strings.Join(s.Image.Config.Shell, " ")
	}
	return "/bin/sh"
}

// ImageFormat is the format that the image gets unless it is said otherwise.
func (s *State) ImageFormat() imagebuilder.Format {
	if s.Format == imagebuilder.Docker.Manifest() {
		return imagebuilder.Docker
	}
	return imagebuilder.OCI
}

// Note adds an entry to the history for something that was done, without a layer of its own.
func (s *State) Note(text string, now time.Time) {
	s.Prepended = append(s.Prepended, imagebuilder.History{CreatedBy: text, Created: &now, EmptyLayer: true})
}

// Sandbox are the settings of the container's commands, as flags give them.
type Sandbox struct {
	AddHosts, DNS, DNSSearch, DNSOptions, Limits, Volumes []string
	ShmSize                                               string
	CapAdd, CapDrop                                       []string
	// Network is "host", "none" or "private"; empty: none of these was asked for.
	Network string
	Takes   Takes
}

// Takes are the limits of what each command takes of the machine; 0 and empty: none. Memory is in bytes, and MemorySwap
// -1 for any.
type Takes struct {
	Memory, MemorySwap        int64
	CPUShares, CPUPeriod      uint64
	CPUQuota                  int64
	CPUs, Nodes, CgroupParent string
}

// SetSandbox keeps the settings.
func (s *State) SetSandbox(b Sandbox) {
	c := &s.Common
	c.AddHost, c.DNSServers = list(b.AddHosts), list(b.DNS)
	c.DNSSearch, c.DNSOptions = list(b.DNSSearch), list(b.DNSOptions)
	c.Volumes, c.Ulimit = list(b.Volumes), list(b.Limits)
	if b.ShmSize != "" {
		c.ShmSize = b.ShmSize
	}
	c.Memory, c.MemorySwap, c.CPUShares, c.CPUPeriod = b.Takes.Memory, b.Takes.MemorySwap, b.Takes.CPUShares,
		b.Takes.CPUPeriod
	c.CPUQuota, c.CPUSetCPUs, c.CPUSetMems = b.Takes.CPUQuota, b.Takes.CPUs, b.Takes.Nodes
	c.CgroupParent = b.Takes.CgroupParent
	if len(b.CapAdd)+len(b.CapDrop) > 0 { // from now on the list is all that commands have
		s.Capabilities = append(UsualCapabilities(), furtherCapabilities()...)
	}
	for _, name := range normalized(b.CapDrop) {
		s.Capabilities = slices.DeleteFunc(s.Capabilities, func(c string) bool { return name == capAll || c == name })
	}
	for _, name := range normalized(b.CapAdd) {
		if !slices.Contains(s.Capabilities, name) {
			s.Capabilities = append(s.Capabilities, name)
		}
	}
	switch b.Network {
	case "none":
		s.ConfigureNetwork = NetworkDisabled
	case "host":
		s.setNamespace(Namespace{Name: network, Host: true})
	case "private":
		s.setNamespace(Namespace{Name: network})
		s.ConfigureNetwork = NetworkEnabled
	}
}

// furtherCapabilities are those that commands have here besides what is usual in buildah.
func furtherCapabilities() []string { return []string{"CAP_AUDIT_WRITE", "CAP_MKNOD", "CAP_NET_RAW"} }

// Sandbox are the settings that were kept. The capabilities that are usual in buildah are no setting: commands have
// those that are usual here.
func (s *State) Sandbox() Sandbox {
	c := s.Common
	b := Sandbox{AddHosts: c.AddHost, DNS: c.DNSServers, DNSSearch: c.DNSSearch, DNSOptions: c.DNSOptions,
		Volumes: c.Volumes, ShmSize: c.ShmSize, Takes: Takes{c.Memory, c.MemorySwap, c.CPUShares, c.CPUPeriod, c.CPUQuota,
			c.CPUSetCPUs, c.CPUSetMems, c.CgroupParent}}
	for _, l := range c.Ulimit {
		if !slices.Contains(usualLimits(), l) { // those that buildah gives every container, whatever its user may have
			b.Limits = append(b.Limits, l)
		}
	}
	if !slices.Equal(slices.Sorted(slices.Values(s.Capabilities)), slices.Sorted(slices.Values(UsualCapabilities()))) {
		b.CapAdd, b.CapDrop = s.Capabilities, []string{capAll}
	}
	switch {
	case s.ConfigureNetwork == NetworkDisabled:
		b.Network = "none"
	case slices.ContainsFunc(s.Namespaces, func(n Namespace) bool { return n.Name == network && n.Host }):
		b.Network = "host"
	case s.ConfigureNetwork == NetworkEnabled:
		b.Network = "private"
	}
	return b
}

// list is never nil, as buildah writes it.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}
