// Package sharedcache says where the results of steps are kept for other machines: what --cache-from and --cache-to
// mean, in docker's and in podman's syntax.
package sharedcache

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// Type is the kind of a place.
type Type string

// The types of places.
const (
	// Registry is a repository of a registry: an artifact under a tag.
	Registry Type = "registry"
	// Local is a directory, an OCI layout.
	Local Type = "local"
	// HTTP is a plain store of blobs by their digests, such as bazel-remote.
	HTTP Type = "http"
	// S3 is a bucket of S3, or of a server that speaks its protocol.
	S3 Type = "s3"
	// GHA is the cache service of GitHub Actions.
	GHA Type = "gha"
	// Inline is the image itself, in whose config the records are; it is read as type Registry.
	Inline Type = "inline"
)

// types are those that a sentence names.
const types = "registry, local, http, s3, gha and, for --cache-to, inline"

// Tag is the tag of the artifact where a name has none, and its name in a directory.
const Tag = "cooper-cache"

// Spec is a place for results of steps.
type Spec struct {
	Type Type
	// Ref is the name of the artifact in a registry, with a tag.
	Ref reference.Reference
	// Insecure allows plain HTTP and certificates that can't be verified.
	Insecure bool
	// Dir is the directory of type Local.
	Dir string
	// URL is the address of type HTTP, and that of the server for S3 and GHA; empty there: it is found elsewhere.
	URL string
	// Name is the name of the cache in a store of types HTTP, S3 and GHA.
	Name string
	// Bucket is where and as whom type S3 keeps it; Service is that of type GHA.
	Bucket  Bucket
	Service Service
	// Patience is how long a look at the place may take; 0: the usual time.
	Patience time.Duration

	// The fields below are for places that are written to.

	// Min leaves out the steps of stages that only give files to the image.
	Min bool
	// Mounts are the IDs of cache mounts whose content is written, too; AllMounts has those of all that the build uses.
	Mounts    []string
	AllMounts bool
	// IgnoreError makes a warning of an error.
	IgnoreError bool
	// Packing says how layers are compressed.
	Packing export.Spec
}

// Where names the place for people.
func (s Spec) Where() string {
	switch s.Type {
	case Local:
		return s.Dir
	case HTTP:
		if u, err := url.Parse(s.URL); err == nil {
			u.User = nil
			return u.String()
		}
		return "http"
	case S3:
		return "s3://" + s.Bucket.Name + "/" + s.Bucket.Prefix + s.Name
	case GHA:
		return "gha " + s.Name
	case Inline:
		return "inline"
	case Registry:
	}
	return s.Ref.String()
}

// From reads the value of --cache-from.
func From(text string) ([]Spec, error) { return parse(text, "--cache-from", false) }

// To reads the value of --cache-to.
func To(text string) ([]Spec, error) { return parse(text, "--cache-to", true) }

func parse(text, flag string, writes bool) (all []Spec, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s %q: %w", flag, hidden(text), err)
		}
	}()
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return nil, err
	}
	if !strings.Contains(text, "=") {
		for _, name := range fields {
			s, err := named(name, writes)
			if err != nil {
				return nil, err
			}
			all = append(all, s)
		}
		return all, nil
	}
	values, last := map[string]string{}, ""
	for _, field := range fields {
		key, value, is := strings.Cut(field, "=")
		if mounts, begun := values["mounts"]; !is && begun && last == "mounts" {
			values["mounts"] = mounts + "," + field // the list of IDs goes on
			continue
		}
		if !is {
			return nil, fmt.Errorf("%q is no KEY=VALUE", field)
		}
		last = strings.ToLower(strings.TrimSpace(key))
		values[last] = value
	}
	s, err := place(values, writes)
	if err != nil {
		return nil, err
	}
	return []Spec{s}, nil
}

// named is a repository that is given by its name alone, as podman does, and gets the steps of all stages.
func named(name string, writes bool) (Spec, error) {
	s := Spec{Type: Registry}
	var err error
	if s.Ref, err = refOf(name, writes); err != nil {
		return s, err
	}
	return s, s.pack(nil)
}

// refOf reads the name of an artifact. One that is written to must say in which registry it is.
func refOf(name string, writes bool) (reference.Reference, error) {
	bare := strings.TrimPrefix(name, "docker://")
	ref, err := reference.Parse(bare)
	switch {
	case err != nil:
		return ref, fmt.Errorf("%q: %w", name, err)
	case writes && conf.ShortName(bare):
		return ref, fmt.Errorf("%q does not say in which registry it is\nhint: Docker's is docker.io/%s", name,
			strings.TrimPrefix(ref.Name(), "docker.io/"))
	case writes && ref.Digest != "":
		return ref, fmt.Errorf("%q: a cache that is written to is named by a tag, and not by a digest", name)
	case ref.Tag == "" && ref.Digest == "":
		ref.Tag = Tag
	}
	return ref, nil
}

func place(values map[string]string, writes bool) (Spec, error) {
	s := Spec{Type: Type(values["type"])}
	switch s.Type {
	case Registry, Local, HTTP, S3, GHA, Inline:
	case "":
		return s, errors.New(`key "type" is missing; types are ` + types)
	case "azblob":
		return s, &OtherTypeError{values["type"]}
	default:
		return s, fmt.Errorf("unknown type %q; types are %s", values["type"], types)
	}
	if s.Type == Inline && !writes {
		return s, errors.New("an image with a cache in it is read as type=registry,ref=IMAGE")
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if has := keys(s.Type, writes); !slices.Contains(has, key) {
			return s, fmt.Errorf("key %q isn't one that type=%s has here; those are %s", key, s.Type, strings.Join(has, ", "))
		}
	}
	if err := s.fillPlace(values, writes); err != nil {
		return s, err
	}
	if err := s.fillMounts(values); err != nil {
		return s, err
	}
	switch mode := values["mode"]; mode {
	case "max":
	case "", "min": // as docker has it
		s.Min = writes
	default:
		return s, fmt.Errorf("mode=%s: must be min or max", mode)
	}
	for key, is := range map[string]*bool{"ignore-error": &s.IgnoreError, "registry.insecure": &s.Insecure,
		"use_path_style": &s.Bucket.PathStyle} {
		text, given := values[key]
		if !given {
			continue
		}
		var err error
		if *is, err = strconv.ParseBool(text); err != nil {
			return s, fmt.Errorf("%s=%s: must be true or false", key, text)
		}
	}
	return s, s.pack(values)
}

// pack sets how layers are compressed. Blobs are named by their digests, and images that are pushed share them with the
// cache if they are compressed in the same way, so that the default is that of pushes.
func (s *Spec) pack(values map[string]string) (err error) {
	words := []string{"type=registry"}
	for _, key := range []string{"compression", "compression-level", "force-compression"} {
		if text, given := values[key]; given {
			words = append(words, key+"="+text)
		}
	}
	for _, key := range []string{"oci-mediatypes", "image-manifest"} {
		if text, given := values[key]; given {
			if is, err := strconv.ParseBool(text); err != nil || !is {
				return fmt.Errorf("%s=%s: must be true", key, text)
			}
		}
	}
	s.Packing, err = export.ParseSpec(strings.Join(words, ","))
	return err
}

// OtherTypeError says that a place is of a type that only other builders have. A build can do without it.
type OtherTypeError struct{ Type string }

func (e *OtherTypeError) Error() string {
	return "there is no cache of type=" + e.Type + " here: type=registry,ref=REGISTRY/NAME:TAG keeps one in a registry, " +
		"type=s3 and type=http in other stores, and type=local in a directory"
}

// TTL reads the value of --cache-ttl: how old a record may be that is taken.
func TTL(text string) (time.Duration, error) {
	ttl, err := time.ParseDuration(text)
	if err != nil || ttl < 0 {
		return 0, fmt.Errorf("--cache-ttl %q: must be a duration, such as 24h", text)
	}
	return ttl, nil
}
