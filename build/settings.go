package build

import (
	"cmp"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/internal/outputs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/sharedcache"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// settings are a request that check has accepted. Nobody changes them: code that needs other settings makes a copy.
type settings struct {
	Request
	// names are the tags as full names.
	names []string
}

// check refuses requests that no build can fulfil, and sets optional fields that are empty to their defaults.
func check(req Request) (settings, error) {
	s := settings{Request: req.completed()}
	var err error
	if cacheOnly(req.Outputs) {
		s.Tags = nil
	}
	if s.names, err = images.NormalizeNames(slices.Concat(s.Tags, outputs.StoreNames(req.Outputs))); err != nil {
		return s, err
	}
	if err := CheckOutputs(req); err != nil {
		return s, err
	}
	return s, req.Run.Check()
}

// cacheOnly tells whether nothing is asked for but what the cache keeps.
func cacheOnly(specs []export.Spec) bool {
	other := func(s export.Spec) bool { return s.Type != export.TypeCacheOnly }
	return len(specs) > 0 && !slices.ContainsFunc(specs, other)
}

// completed is the request with the defaults of its optional fields filled in.
func (r Request) completed() Request {
	if r.Progress == nil {
		r.Progress = progress.Discard{}
	}
	r.Format = cmp.Or(r.Format, imagebuilder.OCI)
	return r
}

// kept are the targets whose images have the layers that the steps make; none has where these are squashed.
func (s settings) kept(targets []*plan.Stage) []*plan.Stage {
	if s.Image.Squash != outputs.SquashNone {
		return nil
	}
	return targets
}

// sources are the caches of other machines in which steps are looked up.
func (s settings) sources() []sharedcache.Spec {
	if s.NoCache {
		return nil
	}
	return s.CacheFrom
}

// shownTo is a copy of the settings whose events go to another sink.
func (s settings) shownTo(to progress.Sink) settings {
	s.Progress = to
	return s
}

// inputs are the options of package inputs: the part of the settings about contexts and the Dockerfile.
func (s settings) inputs(asides progress.Asides) inputs.Options {
	return inputs.Options{
		Context: s.Context, Dockerfile: s.Dockerfile, Then: s.Then, IgnoreFile: s.IgnoreFile, Stdin: s.Stdin,
		Preprocess: s.Preprocess, PreprocessorFlags: s.PreprocessorFlags, BuildArgs: s.BuildArgs,
		Named: s.Contexts,
		Secret: func(id string) ([]byte, bool) {
			secret, ok := s.Run.Secrets[id]
			return secret, ok
		},
		Progress: s.Progress, Shown: asides, Sources: s.SourcePolicy,
	}
}

// shownTags are the names of the image as they were given and in full.
func (s settings) shownTags() []string {
	tags := append([]string{}, s.Tags...)
	for _, t := range s.Tags {
		if full := FullName(t); full != t {
			tags = append(tags, full)
		}
	}
	return tags
}

// CheckOutputs refuses outputs that can't hold what is going to be built, and pushes without a destination.
func CheckOutputs(req Request) error {
	platforms := req.Platforms
	if len(platforms) == 0 {
		platforms = []ocispec.Platform{runstep.MachinePlatform()}
	}
	if err := req.Image.Annotations.Check(platforms); err != nil {
		return fmt.Errorf("--annotation: %w", err)
	}
	return outputs.Check(req.Platforms, req.Outputs, req.Tags)
}

// CheckName returns an error if an image can't have the name.
func CheckName(name string) error { return images.CheckName(name) }

// ShortID is an image's ID as people are shown it.
func ShortID(id string) string { return images.Short(id) }

// FullName is a name as images have it in the store: localhost/app:latest for app. It returns
// a text that is no name unchanged.
func FullName(name string) string {
	full, err := images.NormalizeName(name)
	if err != nil {
		return name
	}
	return full
}
