package dockerfile

import (
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// lintStageNames reports stage names that repeat or are reserved.
func lintStageNames(stages []instructions.Stage, lint *linter.Linter) {
	seen := map[string]bool{}
	for _, s := range stages {
		if s.Name == "" {
			continue
		}
		if s.Name == "context" || s.Name == "scratch" {
			lint.Run(&linter.RuleReservedStageName, s.Location, linter.RuleReservedStageName.Format(s.Name))
		}
		if seen[s.Name] {
			lint.Run(&linter.RuleDuplicateStageName, s.Location, linter.RuleDuplicateStageName.Format(s.Name))
		}
		seen[s.Name] = true
	}
}

// lintCasing reports each instruction that isn't written in the case of most instructions of the file: upper or lower,
// and upper if there are as many of each.
func lintCasing(stages []instructions.Stage, lint *linter.Linter) {
	type word struct {
		text   string
		ranges []parser.Range
	}

	var words []word
	lower, upper := 0, 0
	for _, s := range stages {
		words = append(words, word{s.OrigCmd, s.Location})
		for _, c := range s.Commands {
			words = append(words, word{c.Name(), c.Location()})
		}
	}

	for _, w := range words {
		switch w.text {
		case strings.ToLower(w.text):
			lower++
		case strings.ToUpper(w.text):
			upper++
		}
	}

	wanted, fold := "uppercase", strings.ToUpper
	if lower > upper {
		wanted, fold = "lowercase", strings.ToLower
	}

	for _, w := range words {
		if w.text != fold(w.text) {
			rule := &linter.RuleConsistentInstructionCasing
			lint.Run(rule, w.ranges, rule.Format(w.text, wanted))
		}
	}
}
