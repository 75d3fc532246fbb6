package workstate

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/imagebuilder"
)

// DockerImage is an image's config with the names and in the order of Docker's own file, as buildah keeps it.
type DockerImage struct {
	ID              string        `json:"id,omitempty"`
	Parent          string        `json:"parent,omitempty"`
	Comment         string        `json:"comment,omitempty"`
	Created         time.Time     `json:"created"`
	Container       string        `json:"container,omitempty"`
	ContainerConfig DockerConfig  `json:"container_config"`
	DockerVersion   string        `json:"docker_version,omitempty"`
	Author          string        `json:"author,omitempty"`
	Config          *DockerConfig `json:"config,omitempty"`
	Architecture    string        `json:"architecture,omitempty"`
	Variant         string        `json:"variant,omitempty"`
	OS              string        `json:"os,omitempty"`
	// Size is in bytes.
	Size       int64           `json:",omitempty"`
	RootFS     *DockerRootFS   `json:"rootfs,omitempty"`
	History    []DockerHistory `json:"history,omitempty"`
	OSVersion  string          `json:"os.version,omitempty"`
	OSFeatures []string        `json:"os.features,omitempty"`
}

// DockerRootFS has the digests of an image's uncompressed layers, bottom first.
type DockerRootFS struct {
	Type    string          `json:"type"`
	DiffIDs []digest.Digest `json:"diff_ids,omitempty"`
}

// DockerHistory is an entry of an image's history.
type DockerHistory struct {
	Created    time.Time `json:"created"`
	Author     string    `json:"author,omitempty"`
	CreatedBy  string    `json:"created_by,omitempty"`
	Comment    string    `json:"comment,omitempty"`
	EmptyLayer bool      `json:"empty_layer,omitempty"`
}

// DockerConfig says how a container is started.
type DockerConfig struct {
	Hostname        string                    `json:"Hostname"`
	Domainname      string                    `json:"Domainname"`
	User            string                    `json:"User"`
	AttachStdin     bool                      `json:"AttachStdin"`
	AttachStdout    bool                      `json:"AttachStdout"`
	AttachStderr    bool                      `json:"AttachStderr"`
	ExposedPorts    map[string]struct{}       `json:"ExposedPorts,omitempty"`
	Tty             bool                      `json:"Tty"`
	OpenStdin       bool                      `json:"OpenStdin"`
	StdinOnce       bool                      `json:"StdinOnce"`
	Env             []string                  `json:"Env"`
	Cmd             []string                  `json:"Cmd"`
	ArgsEscaped     bool                      `json:",omitempty"`
	Healthcheck     *imagebuilder.Healthcheck `json:"Healthcheck,omitempty"`
	Image           string                    `json:"Image"`
	Volumes         map[string]struct{}       `json:"Volumes"`
	WorkingDir      string                    `json:"WorkingDir"`
	Entrypoint      []string                  `json:"Entrypoint"`
	NetworkDisabled bool                      `json:",omitempty"`
	MacAddress      string                    `json:",omitempty"`
	OnBuild         []string                  `json:"OnBuild"`
	Labels          map[string]string         `json:"Labels"`
	StopSignal      string                    `json:",omitempty"`
	// StopTimeout is in seconds.
	StopTimeout *int     `json:",omitempty"`
	Shell       []string `json:",omitempty"`
}

// set gives the config what an image's says, and leaves the rest.
func (d *DockerConfig) set(c imagebuilder.Config) {
	d.Hostname, d.Domainname, d.User, d.ExposedPorts = c.Hostname, c.Domainname, c.User, c.ExposedPorts
	d.Env, d.Cmd, d.Entrypoint, d.Volumes = c.Env, c.Cmd, c.Entrypoint, c.Volumes
	d.WorkingDir, d.Labels, d.StopSignal, d.StopTimeout = c.WorkingDir, c.Labels, c.StopSignal, c.StopTimeout
	d.Healthcheck, d.Shell, d.OnBuild = c.Healthcheck, c.Shell, c.OnBuild
	if d.OnBuild == nil {
		d.OnBuild = []string{}
	}
}

func dockerHistory(all []imagebuilder.History) (list []DockerHistory) {
	for _, h := range all {
		d := DockerHistory{Author: h.Author, CreatedBy: h.CreatedBy, Comment: h.Comment, EmptyLayer: h.EmptyLayer}
		if h.Created != nil {
			d.Created = *h.Created
		}
		list = append(list, d)
	}
	return list
}
