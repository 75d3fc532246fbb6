package plan

import (
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/suggest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// lint checks the rules that need the expanded text of an instruction; package dockerfile checks the others when it
// parses the file.
type lint struct {
	*linter.Linter
	// open tells that the stage's base image is unknown, so that it may define any variable.
	open bool
	// compared counts, for the whole plan, the names that were compared with a misspelt one; at most maxCompared.
	compared *int
}

// maxCompared is how many names of a plan are compared with misspelt ones, to find those that were meant.
const maxCompared = 1_000_000

// nearest gives the name of names that was probably meant, "" if there is none or maxCompared is reached.
func (l lint) nearest(name string, names []string) string {
	if *l.compared += len(names); *l.compared > maxCompared {
		return ""
	}
	near, _ := suggest.Search(name, names, true)
	return near
}

// at gives the linter for an instruction, without the rules that a "check" comment above the instruction skips.
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

// undefinedInFrom reports the variables that a FROM uses and that no global argument defines.
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
		return // the stage's name says which platform it is for, so the fixed --platform is meant
	}
	rule := &linter.RuleFromPlatformFlagConstDisallowed
	l.Run(rule, st.Location, rule.Format(value.text))
}

// basePlatform reports a base image whose platform, have, isn't the one that was asked for, want.
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

// once reports an instruction of which only the last in a stage counts, such as CMD, when a later one follows. seen has
// the location of the latest one by name.
func (l lint) once(seen map[string][]parser.Range, cmd instructions.Command) {
	name := strings.ToUpper(cmd.Name())
	if before, ok := seen[name]; ok {
		rule := &linter.RuleMultipleInstructionsDisallowed
		l.Run(rule, before, rule.Format(cmd.Name()))
	}
	seen[name] = cmd.Location()
}

// shellForm reports CMD and ENTRYPOINT in shell form, unless a SHELL instruction or the base image set shell.
func (l lint) shellForm(cmd instructions.Command, shell []string) {
	if len(shell) == 0 {
		rule := &linter.RuleJSONArgsRecommended
		l.Run(rule, cmd.Location(), rule.Format(cmd.Name()))
	}
}
