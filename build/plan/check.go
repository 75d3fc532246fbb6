package plan

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// ErrUnknownImage is what a Resolver says of an image that it does not have and must not fetch. [Check] and
// [MakeOutline] go on without it; for [Make] it is an error like any other.
var ErrUnknownImage = errors.New("the image is not in the store")

// Findings are what [Check] has to say.
type Findings struct {
	// Warnings are in file order.
	Warnings []dockerfile.Warning
	// Unknown are the images that the resolver doesn't have, sorted. In stages on top of them UndefinedVar is silent: the
	// variables may come from the image.
	Unknown []string
}

// Check lints a file as [Make] does, but for every stage unless there is a target, for any platform, and without images
// that the resolver doesn't have. The findings are complete up to an error.
func Check(ctx context.Context, f *dockerfile.File, o Options) (Findings, error) {
	p := newChecker(f, o)
	p.allStages = o.Target == ""
	err := p.safely(func() error { return p.plan(ctx) })
	p.sortWarnings()
	if err == nil {
		err = p.checkError()
	}
	return Findings{
		Warnings: p.graph.Warnings,
		Unknown:  slices.Compact(slices.Sorted(maps.Values(p.unknown))),
	}, err
}

// newChecker is a planner for what will not be built. What a build would have to allow is no mistake in the file.
func newChecker(f *dockerfile.File, o Options) *planner {
	o.Insecure = true
	p := newPlanner(f, o)
	p.checking = true
	return p
}

// sortWarnings puts the warnings in file order, without repeats: one line may use a variable twice, two stages one
// base.
func (p *planner) sortWarnings() {
	slices.SortStableFunc(p.graph.Warnings, func(a, b dockerfile.Warning) int {
		return cmp.Or(a.Location.StartLine-b.Location.StartLine, strings.Compare(a.Rule, b.Rule),
			strings.Compare(a.Message, b.Message))
	})
	p.graph.Warnings = slices.Compact(p.graph.Warnings)
}

// checkError is the error that "# check=error=true" makes of warnings.
func (p *planner) checkError() error {
	if !p.file.Check.ReturnAsError {
		return nil
	}
	rules := map[string]bool{}
	for _, w := range p.graph.Warnings {
		if w.Rule != RuleUnusedBuildArg {
			rules[w.Rule] = true
		}
	}
	if len(rules) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(rules))
	return p.file.NewError(dockerfile.Location{File: p.file.Name}, "lint violation found for rules: "+
		strings.Join(names, ", "),
		"correct the lines, or do without error=true")
}
