package build

import (
	"context"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/source"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// readFile is a Dockerfile that was read, with what belongs to it.
type readFile struct {
	// file is nil if there is no text.
	file   *dockerfile.File
	source Source
	// ignore is the ignore file that goes with it; nil if there is none.
	ignore *source.Ignore
}

// read reads and parses the Dockerfile that goes with a context. With a *dockerfile.Error comes the file as far as it goes.
func (o opener) read(ctx context.Context, p place) (r readFile, err error) {
	found, err := o.findDockerfile(ctx, p)
	if err != nil {
		return r, err
	}
	r.source = Source{Name: found.name, Text: found.text}
	r.file, err = dockerfile.Parse(found.name, found.text, dockerfile.Options{
		Check: o.req.BuildArgs["BUILDKIT_DOCKERFILE_CHECK"], Syntax: o.req.BuildArgs["BUILDKIT_SYNTAX"],
	})
	if err != nil || p.path == "" {
		return r, err
	}
	r.ignore, err = o.findIgnore(p, found)
	return r, err
}

// warn shows the warnings of a file that can't be planned.
func (r readFile) warn(to progress.Sink) {
	if r.file == nil {
		return
	}
	for _, w := range r.file.Warnings {
		to.Emit(shownWarning(w))
	}
}

func shownWarning(w dockerfile.Warning) progress.Warning {
	return progress.Warning{File: w.Location.File, Line: w.Location.StartLine, Rule: w.Rule, Message: w.Message, URL: w.URL}
}

// planOptions are those of a request, without a resolver.
func planOptions(req *Request, ignore *source.Ignore) plan.Options {
	o := plan.Options{
		Target: req.Target, BuildArgs: req.BuildArgs, Proxies: req.Run.Proxies, BuildPlatform: machinePlatform(),
		Contexts: req.Contexts, Labels: req.Labels, Insecure: req.Run.Insecure, HostNetwork: req.Run.HostNetwork,
	}
	if len(req.Platforms) > 0 {
		o.Platform = req.Platforms[0]
	}
	if ignore != nil {
		o.Ignore = ignore
	}
	return o
}
