package imagebuilder

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// History is one entry of an image's history, as in the OCI image specification.
type History = ocispec.History

// An Image is an image config: how a container of the image is started, which platform it is for and how it was made.
//
// The zero value is an image without platform and config; [Scratch] gives the empty image of a platform to start from.
type Image struct {
	Platform ocispec.Platform
	// Author is the name that MAINTAINER gives.
	Author string
	// Comment is a text about the image. ParseImage drops it, so that images built on others don't have it.
	Comment string
	// Cache are records of steps in JSON; ParseImage drops them, too.
	Cache  []byte
	Config Config
	// DiffIDs, History and Created are those of the image that was read by ParseImage; the With methods carry them along
	// unchanged, so after any number of steps they still describe the base image.
	DiffIDs []digest.Digest
	History []History
	Created *time.Time
}

// Config is the part of an image config that says how a container is started. The field names are the JSON keys, in
// the OCI specification's spelling; Healthcheck, OnBuild, Shell and StopTimeout are Docker's additions.
type Config struct {
	// Hostname and Domainname are Docker's additions, too, which ParseImage drops: today's builders take them for those of
	// the container that the image was once made of.
	Hostname   string `json:"Hostname,omitempty"`
	Domainname string `json:"Domainname,omitempty"`
	// User is "user[:group]", by name or by container ID; empty means 0:0.
	User string `json:"User,omitempty"`
	// ExposedPorts has "PORT/PROTOCOL" keys.
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	// Env is KEY=VALUE in the order of first definition.
	Env        []string            `json:"Env,omitempty"`
	Entrypoint []string            `json:"Entrypoint,omitempty"`
	Cmd        []string            `json:"Cmd,omitempty"`
	Volumes    map[string]struct{} `json:"Volumes,omitempty"`
	// WorkingDir is absolute, or empty for "/".
	WorkingDir string            `json:"WorkingDir,omitempty"`
	Labels     map[string]string `json:"Labels,omitempty"`
	StopSignal string            `json:"StopSignal,omitempty"`
	// StopTimeout is in seconds.
	StopTimeout *int         `json:"StopTimeout,omitempty"`
	Healthcheck *Healthcheck `json:"Healthcheck,omitempty"`
	// OnBuild are the instructions that a build on top of this image runs first.
	OnBuild []string `json:"OnBuild,omitempty"`
	// Shell is the program and arguments that run the shell form of RUN, CMD and ENTRYPOINT; empty means /bin/sh -c.
	Shell []string `json:"Shell,omitempty"`
}

// Healthcheck says how to find out whether a container works. Zero values inherit the runtime's defaults.
type Healthcheck struct {
	// Test is {"NONE"}, {"CMD", args...} or {"CMD-SHELL", command}.
	Test []string `json:"Test,omitempty"`
	// The durations are nanoseconds in JSON.
	Interval      time.Duration `json:"Interval,omitempty"`
	Timeout       time.Duration `json:"Timeout,omitempty"`
	StartPeriod   time.Duration `json:"StartPeriod,omitempty"`
	StartInterval time.Duration `json:"StartInterval,omitempty"`
	Retries       int           `json:"Retries,omitempty"`
}

// A Base is an image that a stage starts from or that files are copied from.
type Base struct {
	// ID is the image's ID in the local store: the hex digits of its config digest.
	ID string
	// Name is the full reference under which the image was found.
	Name string
	// Digest is the manifest digest; empty if unknown.
	Digest digest.Digest
	Image  Image
	// Annotations are those of the manifest.
	Annotations map[string]string
	// Config is the config JSON as stored, byte for byte.
	Config []byte
}

// Scratch is the empty image for a platform.
func Scratch(platform ocispec.Platform) Image {
	return Image{Platform: platform}
}
