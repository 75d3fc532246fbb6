package plan

import (
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/suggest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// lint holds the rules that need to know what an instruction expands to; the others are checked when the file is
// parsed.
type lint struct {
	*linter.Linter
	// open is true if variables may come from a base image that nobody has looked at.
	open bool
	// compared counts the names that others were compared with, in all of the plan.
	compared *int
}

// maxCompared bounds the comparisons by which names that were meant are found.
const maxCompared = 1_000_000

// nearest is the name that was probably meant, "" if there is none or if too many have been compared already.
func (l lint) nearest(name string, names []string) string {
	if *l.compared += len(names); *l.compared > maxCompared {
		return ""
	}
	near, _ := suggest.Search(name, names, true)
	return near
}

// at is the linter for an instruction, with what a "check" comment above it skips.
func (l lint) at(comments []string) lint {
	return lint{Linter: l.WithMergedConfigFromComments(comments), compared: l.compared}
}

// undefined reports the variables an instruction uses that nothing defines.
func (l lint) undefined(ranges []parser.Range, missing []string, env *variables, declared []argument) {
	if l.open {
		return
	}
	for _, name := range missing {
		if slices.ContainsFunc(declared, func(a argument) bool { return a.name == name }) {
			continue
		}
		near := l.nearest(name, env.Keys())
		l.Run(&linter.RuleUndefinedVar, ranges, linter.RuleUndefinedVar.Format(name, near))
	}
}

// undefinedInFrom is the same for FROM, which sees global arguments only.
func (l lint) undefinedInFrom(ranges []parser.Range, missing, known []string) {
	for _, name := range missing {
		if slices.Contains(known, name) {
			continue
		}
		near := l.nearest(name, known)
		l.Run(&linter.RuleUndefinedArgInFrom, ranges, linter.RuleUndefinedArgInFrom.Format(name, near))
	}
}

// fromPlatform reports --platform values that say nothing or tie the file to one machine.
func (l lint) fromPlatform(st *instructions.Stage, value expansion, global *variables) {
	if len(value.matched) == 1 && len(value.missing) == 0 && value.matched[0] == "TARGETPLATFORM" {
		if result, _ := global.Get("TARGETPLATFORM"); result == value.text {
			rule := &linter.RuleRedundantTargetPlatform
			l.Run(rule, st.Location, rule.Format(st.Platform))
		}
	}
	if len(value.matched) > 0 || len(value.missing) > 0 {
		return
	}
	p, err := ParsePlatform(value.text, ocispec.Platform{OS: "linux"})
	if err != nil || (p.OS != "" && strings.Contains(st.Name, p.OS)) ||
		(p.Architecture != "" && strings.Contains(st.Name, p.Architecture)) {
		return // a stage called "amd64" means what it says
	}
	rule := &linter.RuleFromPlatformFlagConstDisallowed
	l.Run(rule, st.Location, rule.Format(value.text))
}

// basePlatform reports a base image that is for another platform than asked for.
func (l lint) basePlatform(ranges []parser.Range, ref string, want, have ocispec.Platform) {
	if (have.OS == "" && have.Architecture == "") || (want.OS == have.OS && want.Architecture == have.Architecture) {
		return
	}
	rule := &linter.RuleInvalidBaseImagePlatform
	l.Run(rule, ranges, rule.Format(ref, formatPlatform(want), formatPlatform(have)))
}

// secretKey reports ARG and ENV names that look like secrets: both end up in the image.
func (l lint) secretKey(instruction, name string, ranges []parser.Range) {
	denied := []string{"apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret",
		"token"}
	allowed := []string{"public", "file", "version"}
	words := strings.Split(strings.ToLower(name), "_")
	has := func(list []string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(list, w) })
	}
	if has(denied) && !has(allowed) {
		rule := &linter.RuleSecretsUsedInArgOrEnv
		l.Run(rule, ranges, rule.Format(instruction, name))
	}
}

// legacyPairs reports "ENV name value".
func (l lint) legacyPairs(pairs instructions.KeyValuePairs, name string, ranges []parser.Range) {
	for _, kv := range pairs {
		if kv.NoDelim {
			rule := &linter.RuleLegacyKeyValueFormat
			l.Run(rule, ranges, rule.Format(name))
		}
	}
}

// once reports all but the last of an instruction that counts once, and remembers this one.
func (l lint) once(seen map[string][]parser.Range, cmd instructions.Command) {
	name := strings.ToUpper(cmd.Name())
	if before, ok := seen[name]; ok {
		rule := &linter.RuleMultipleInstructionsDisallowed
		l.Run(rule, before, rule.Format(cmd.Name()))
	}
	seen[name] = cmd.Location()
}

// shellForm reports CMD and ENTRYPOINT in shell form, unless the file chose the shell.
func (l lint) shellForm(cmd instructions.Command, shell []string) {
	if len(shell) == 0 {
		rule := &linter.RuleJSONArgsRecommended
		l.Run(rule, cmd.Location(), rule.Format(cmd.Name()))
	}
}

// lintDefaultBases reports bases that are no image names when no build argument is given.
func (p *planner) lintDefaultBases(defaults *variables) {
	for _, st := range p.file.Stages {
		base, err := run(p.expand.word, st.BaseName, defaults)
		if err != nil {
			return
		}
		if _, err := reference.Parse(base.text); err != nil {
			rule := &linter.RuleInvalidDefaultArgInFrom
			p.lint.Run(rule, st.Location, rule.Format(st.BaseName))
		}
	}
}

// lintSources reports sources of COPY and ADD that the ignore file hides.
func (x expanding) lintSources(name string, op *Copy) {
	if x.opts.Ignore == nil || op.From.Kind != InputContext || op.From.Name != "" {
		return
	}
	verb := name[:1] + strings.ToLower(name[1:])
	for _, src := range op.Sources {
		if x.opts.Ignore.HidesSource(src) {
			rule := &linter.RuleCopyIgnoredFile
			x.lint.Run(rule, x.in.Location(), rule.Format(verb, path.Clean(src)))
		}
	}
}
