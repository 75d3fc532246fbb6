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

// ErrUnknownImage is the error of a Resolver for an image that it does not have and must not fetch. [Check] and
// [MakeOutline] go on without the image; [Make] fails.
var ErrUnknownImage = errors.New("the image is not in the store")

// Findings are the result of [Check].
type Findings struct {
	// Warnings are in file order.
	Warnings []dockerfile.Warning
	// Unknown are the images that the resolver doesn't have, sorted. The rule UndefinedVar isn't checked in stages on top
	// of them, since the image may define the variables.
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

// newChecker gives a planner for a plan that won't be built. It allows all that a build needs permission for: that is
// no mistake in the file.
func newChecker(f *dockerfile.File, o Options) *planner {
	o.Insecure = true
	p := newPlanner(f, o)
	p.checking = true
	return p
}

// sortWarnings puts the warnings in file order and drops repeats: one line may use a variable twice, and two stages may
// have the same base.
func (p *planner) sortWarnings() {
	slices.SortStableFunc(p.graph.Warnings, func(a, b dockerfile.Warning) int {
		return cmp.Or(a.Location.StartLine-b.Location.StartLine, strings.Compare(a.Rule, b.Rule),
			strings.Compare(a.Message, b.Message))
	})
	p.graph.Warnings = slices.Compact(p.graph.Warnings)
}

// checkError gives the error for a file with warnings and "# check=error=true"; nil otherwise.
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
