package inspect

import (
	"context"
	"fmt"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// CheckResult is what [Check] found.
type CheckResult struct {
	Source inputs.Source
	// Warnings are the linter's, in file order.
	Warnings []dockerfile.Warning
	// Notes are lines for the user about the check itself and the command line.
	Notes []string
	// Err is why the Dockerfile can't be built at all; nil if it can. It is a *dockerfile.Error if it has a place.
	Err error
}

// Dockerfile is a Dockerfile that is looked at and not built.
type Dockerfile struct {
	inputs.File
	// Err is what is wrong with the text, a *dockerfile.Error; nil: nothing.
	Err error
	// Options are how it would be planned.
	Options plan.Options
}

// Check lints a Dockerfile. What is wrong with it is in the result.
func Check(ctx context.Context, in Dockerfile) CheckResult {
	res := CheckResult{Source: in.Source}
	if in.Parsed == nil || in.Err != nil {
		res.Err = in.Err
		if in.Parsed != nil {
			res.Warnings = in.Parsed.Warnings
		}
		return res
	}
	found, err := plan.Check(ctx, in.Parsed, in.Options)
	for _, w := range found.Warnings {
		if w.Rule == plan.RuleUnusedBuildArg {
			res.Notes = append(res.Notes, w.Message)
			continue
		}
		res.Warnings = append(res.Warnings, w)
	}
	for _, ref := range found.Unknown {
		res.Notes = append(res.Notes, unknownNote(ref))
	}
	res.Err = err
	return res
}

// unknownNote says why a base image isn't known, and what that means.
func unknownNote(ref string) string {
	const means = "what it sets is not known, so undefined variables in stages on it are not reported"
	if where, ok := strings.CutPrefix(ref, plan.TargetRef); ok {
		return fmt.Sprintf("target:%s is not built by a check: %s", where, means)
	}
	return fmt.Sprintf("%s is not in the local store: %s (--pull fetches it)", ref, means)
}
