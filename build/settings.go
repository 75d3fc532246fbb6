package build

import (
	"cmp"
	"slices"

	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/internal/outputs"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// settings are a request that was checked. Nobody changes them: who needs others makes a copy.
type settings struct {
	Request
	// names are the tags as full names.
	names []string
}

// check refuses what no build can do, and gives the fields that nobody has to fill in their values.
func check(req Request) (settings, error) {
	s := settings{Request: req.completed()}
	var err error
	if s.names, err = fullNames(slices.Concat(req.Tags, outputs.StoreNames(req.Outputs))); err != nil {
		return s, err
	}
	if err := CheckOutputs(req); err != nil {
		return s, err
	}
	return s, req.Run.Check()
}

// completed is the request with the fields that nobody has to fill in.
func (r Request) completed() Request {
	if r.Progress == nil {
		r.Progress = progress.Discard{}
	}
	r.Format = cmp.Or(r.Format, imagebuilder.OCI)
	return r
}

// shownTo are the settings of a build that is shown to another sink.
func (s settings) shownTo(to progress.Sink) settings {
	s.Progress = to
	return s
}

// inputs is what the settings say of contexts and the Dockerfile.
func (s settings) inputs(asides progress.Asides) inputs.Options {
	return inputs.Options{
		Context: s.Context, Dockerfile: s.Dockerfile, IgnoreFile: s.IgnoreFile, Stdin: s.Stdin, BuildArgs: s.BuildArgs,
		Named: s.Contexts,
		Secret: func(id string) ([]byte, bool) {
			secret, ok := s.Run.Secrets[id]
			return secret, ok
		},
		Progress: s.Progress, Shown: asides,
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

// CheckOutputs refuses outputs that can't hold what is going to be built, and those that are pushed nobody knows where.
func CheckOutputs(req Request) error {
	return outputs.Check(req.Platforms, req.Outputs, req.Tags)
}

// CheckName tells whether a name can be given to an image.
func CheckName(name string) error {
	_, err := images.NormalizeName(name)
	return err
}

// ShortID is an image's ID as people are shown it.
func ShortID(id string) string { return images.Short(id) }

// FullName is a name as images have it in the store: localhost/app:latest for app. It gives what is no name back as it
// is.
func FullName(name string) string {
	full, err := images.NormalizeName(name)
	if err != nil {
		return name
	}
	return full
}

func fullNames(tags []string) ([]string, error) {
	var names []string
	for _, t := range tags {
		n, err := images.NormalizeName(t)
		if err != nil {
			return nil, err
		}
		names = append(names, n)
	}
	return names, nil
}
