package inputs

import (
	"context"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// Source is the Dockerfile that a remark is about.
type Source struct {
	// Name is the path as the user gave it, or "-".
	Name string
	Text []byte
}

// File is a parsed Dockerfile with its source and its ignore file.
type File struct {
	// Parsed is the parsed Dockerfile; nil: its text could not be read.
	Parsed *dockerfile.File
	Source Source
	// Ignore is the ignore file that goes with it; nil if there is none.
	Ignore *source.Ignore
}

// read reads and parses the Dockerfile that goes with a context. With a *dockerfile.Error it also returns the
// part of the file that could be parsed.
func (o opener) read(ctx context.Context, p located) (r File, err error) {
	found, err := o.findDockerfile(ctx, p, o.Dockerfile)
	if err == nil {
		found, err = o.preprocess(ctx, p, found)
	}
	if err != nil {
		return r, err
	}
	r.Source = Source{Name: found.name, Text: found.text}
	options := dockerfile.Options{
		Check: o.BuildArgs["BUILDKIT_DOCKERFILE_CHECK"], Syntax: o.BuildArgs["BUILDKIT_SYNTAX"],
	}
	for _, name := range o.Then {
		further, err := o.findDockerfile(ctx, p, name)
		if err == nil {
			further, err = o.preprocess(ctx, p, further)
		}
		if err != nil {
			return r, err
		}
		options.Then = append(options.Then, dockerfile.Text{Name: further.name, Text: further.text})
	}
	in := o.includes(ctx, p, found)
	options.Include = in.read
	r.Parsed, err = dockerfile.Parse(found.name, found.text, options)
	if err != nil || p.path == "" {
		return r, err
	}
	r.Ignore, err = o.findIgnore(ctx, p, found)
	return r, err
}

// Warn shows the warnings of a file that can't be planned.
func (r File) Warn(to progress.Sink) {
	if r.Parsed == nil {
		return
	}
	for _, w := range r.Parsed.Warnings {
		to.Emit(Warning(w))
	}
}

// Warning makes the progress event that shows a warning about a Dockerfile.
func Warning(w dockerfile.Warning) progress.Warning {
	return progress.Warning{File: w.Location.File, Line: w.Location.StartLine, Rule: w.Rule, Message: w.Message,
		URL: w.URL}
}
