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
	p.graph.Warnings = sortWarnings(p.graph.Warnings)
	if err == nil {
		err = checkError(f, p.graph.Warnings)
	}
	return Findings{
		Warnings: p.graph.Warnings,
		Unknown:  slices.Compact(slices.Sorted(maps.Values(p.images.unknown))),
	}, err
}

// newChecker gives a planner for a plan that won't be built. It allows all that a build needs permission for: that is
// no mistake in the file.
func newChecker(f *dockerfile.File, o Options) *planner {
	o.Insecure, o.AllDevices = true, true
	return newPlanner(f, o, true)
}

// sortWarnings puts the warnings in file order and drops repeats: one line may use a variable twice, and two stages may
// have the same base.
func sortWarnings(all []dockerfile.Warning) []dockerfile.Warning {
	slices.SortStableFunc(all, func(a, b dockerfile.Warning) int {
		return cmp.Or(a.Location.StartLine-b.Location.StartLine, strings.Compare(a.Rule, b.Rule),
			strings.Compare(a.Message, b.Message))
	})

	return slices.Compact(all)
}

// checkError gives the error for a file with warnings and "# check=error=true"; nil otherwise.
func checkError(f *dockerfile.File, warnings []dockerfile.Warning) error {
	if !f.Check.ReturnAsError {
		return nil
	}
	rules := map[string]bool{}
	for _, w := range warnings {
		if w.Rule != RuleUnusedBuildArg {
			rules[w.Rule] = true
		}
	}
	if len(rules) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(rules))
	return f.NewError(dockerfile.Location{File: f.Name}, "lint violation found for rules: "+
		strings.Join(names, ", "),
		"correct the lines, or do without error=true")
}
