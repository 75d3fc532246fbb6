package build

import (
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/runstep"
	"github.com/cooperbuild/cooper/build/source"
)

// planOptions are those of a request, without a resolver.
func planOptions(req *Request, ignore *source.Ignore) plan.Options {
	o := plan.Options{
		Target: req.Target, BuildArgs: req.BuildArgs, Proxies: req.Run.Proxies, BuildPlatform: runstep.MachinePlatform(),
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
