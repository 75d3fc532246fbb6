package plan

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// Changes are what the command line changes of the images that the Dockerfile describes. The zero value changes
// nothing.
type Changes struct {
	// From takes the place of the name in the first FROM of the file: it is an image, a named context or scratch. Empty:
	// the file says it.
	From string
	// Env is KEY=VALUE. Each stage begins with these variables, after those of its base, as if ENV had set them; the
	// history doesn't have them.
	Env []string
	// DropLabels has no stage inherit the labels of the image or stage that it starts from.
	DropLabels bool
	// UnsetEnv and UnsetLabels are the names of variables and labels that the finished image doesn't have, whoever has set
	// them.
	UnsetEnv, UnsetLabels []string
	// OSVersion is the version of the operating system that the finished image asks for; empty: that of its base.
	// OSFeatures are features that it asks for besides those of its base; one with a - behind it is taken away.
	OSVersion  string
	OSFeatures []string
}

// begin gives a stage what it begins with, besides what its base has.
func (c Changes) begin(image *imagebuilder.Draft) {
	if c.DropLabels {
		image.Config.Labels = nil
	}
	for _, entry := range c.Env {
		name, value, _ := strings.Cut(entry, "=")
		image.SetEnv(name, value)
	}
}

// finish gives the finished image without what it must not have.
func (c Changes) finish(image imagebuilder.Image) imagebuilder.Image {
	return image.WithoutEnv(c.UnsetEnv).WithoutLabels(c.UnsetLabels)
}

// system gives the finished image what is said about its operating system.
func (c Changes) system(image imagebuilder.Image) imagebuilder.Image {
	image.Platform.OSVersion = cmp.Or(c.OSVersion, image.Platform.OSVersion)
	features := slices.Clone(image.Platform.OSFeatures)
	for _, text := range c.OSFeatures {
		name, remove := strings.CutSuffix(text, "-")
		features = slices.DeleteFunc(features, func(have string) bool { return have == name })
		if !remove {
			features = append(features, name)
		}
	}
	image.Platform.OSFeatures = features
	return image
}

// RuleNoCacheFilter is the rule of the warning about a stage that must not come from the cache and isn't there.
const RuleNoCacheFilter = "UnknownNoCacheStage"

// warnFresh reports the names in Options.Fresh that no stage has.
func (p *planner) warnFresh() {
	for _, name := range p.opts.Fresh {
		known := func(st *stage) bool { return st.called(name) }
		if !slices.ContainsFunc(p.stages.all, known) {
			near := nearHint(dockerfile.Nearest(strings.ToLower(name), p.stages.names(len(p.stages.all))))
			p.warn(dockerfile.Warning{
				Location: dockerfile.Location{File: p.file.Name}, Rule: RuleNoCacheFilter,
				Message: strings.TrimSpace("there is no stage " + quoted(name) + " to run without the cache; " + near),
			})
		}
	}
}

// called tells whether a name, in any case, or a number means the stage.
func (st *stage) called(name string) bool {
	return strings.EqualFold(name, st.src.Name) && name != "" || name == strconv.Itoa(st.index)
}
