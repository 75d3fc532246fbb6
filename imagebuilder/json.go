package imagebuilder

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// configJSON is the config file of the OCI image specification with Docker's additions.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
type configJSON struct {
	Created *time.Time `json:"created,omitempty"`
	Author  string     `json:"author,omitempty"`
	Comment string     `json:"comment,omitempty"`
	ocispec.Platform
	Config  Config         `json:"config"`
	RootFS  ocispec.RootFS `json:"rootfs"`
	History []History      `json:"history,omitempty"`
	// Cache is cooper's own.
	Cache json.RawMessage `json:"cooper.cache.v1,omitempty"`
}

// ParseImage reads the JSON of an OCI or Docker image config. Keys it doesn't know are dropped.
func ParseImage(configJSONText []byte) (Image, error) {
	var c configJSON
	if err := json.Unmarshal(configJSONText, &c); err != nil {
		return Image{}, fmt.Errorf("read image config: %w", err)
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := d.Validate(); err != nil {
			return Image{}, fmt.Errorf("read image config: diff ID %q: %w", d, err)
		}
	}
	c.Config.Hostname, c.Config.Domainname = "", ""
	return Image{
		Platform: c.Platform, Author: c.Author, Config: c.Config,
		DiffIDs: c.RootFS.DiffIDs, History: c.History, Created: c.Created,
	}, nil
}

// MarshalConfig writes the config JSON of the image made of these layers, lowest first. history has one entry for each
// layer plus any number of entries marked empty, the base image's entries included. A zero created leaves the key out.
// Equal input gives equal bytes.
func (i Image) MarshalConfig(diffIDs []digest.Digest, created time.Time, history []History) ([]byte, error) {
	layers := 0
	for _, h := range history {
		if !h.EmptyLayer {
			layers++
		}
	}

	if len(history) > 0 && layers != len(diffIDs) {
		return nil, fmt.Errorf("write image config: history tells of %d layers, the image has %d", layers, len(diffIDs))
	}
	c := configJSON{
		Author: i.Author, Comment: i.Comment, Platform: i.Platform, Config: i.Config,
		RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: diffIDs},
		History: history, Cache: i.Cache,
	}

	if diffIDs == nil {
		c.RootFS.DiffIDs = []digest.Digest{} // null is not an array to other readers
	}
	if !created.IsZero() {
		utc := created.UTC()
		c.Created = &utc
	}

	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write image config: %w", err)
	}
	return text, nil
}
