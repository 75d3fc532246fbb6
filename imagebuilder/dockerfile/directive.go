package dockerfile

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// The build arguments that stand in for directives.
const (
	checkArg  = "BUILDKIT_DOCKERFILE_CHECK"
	syntaxArg = "BUILDKIT_SYNTAX"
)

// builtIn is the value of BUILDKIT_SYNTAX that chooses the language as this program has it.
const builtIn = "dockerfile.v0"

// readDirectives looks at the "syntax" and "check" directives; the parser handles "escape".
func (f *File) readDirectives(text []byte, o Options) error {
	if err := f.readSyntax(text, o.Syntax); err != nil {
		return err
	}
	return f.readCheck(text, o.Check)
}

// readSyntax refuses every frontend but Dockerfile frontends; given is the value of BUILDKIT_SYNTAX, nil without that
// build argument. As in BuildKit the directive is also looked for in a "//" comment and in a JSON text: a file in
// another language names its frontend there.
func (f *File) readSyntax(text []byte, given *string) error {
	const hint = "only Dockerfiles are built: "
	if given != nil {
		ref, _, _ := strings.Cut(strings.TrimSpace(*given), " ")
		f.own = isOwn(ref)
		if ref != builtIn && !knownFrontend(ref) {
			return f.NewError(Location{File: f.Name},
				fmt.Sprintf("cooper does not support the frontend %q of the build argument %s", ref, syntaxArg),
				hint+syntaxArg+"=docker/dockerfile:1, or no such argument")
		}
		return nil
	}
	ref, _, ranges, ok := parser.DetectSyntax(text)
	f.own = isOwn(ref)
	if !ok || knownFrontend(ref) {
		return nil
	}
	loc := f.Location(ranges)
	if loc.StartLine == 0 { // JSON has no line
		loc = Location{File: f.Name}
	}
	return f.NewError(loc, fmt.Sprintf("cooper does not support the frontend %q", ref),
		hint+"# syntax=docker/dockerfile:1, or no such line")
}

// knownFrontend accepts the Dockerfile frontends from any registry. They are never fetched: the language is built in.
func knownFrontend(ref string) bool {
	name, _, _ := strings.Cut(ref, "@")
	if slash := strings.LastIndexByte(name, '/'); strings.LastIndexByte(name, ':') > slash {
		name = name[:strings.LastIndexByte(name, ':')]
	}
	return isOwn(ref) || regexp.MustCompile(`^(.+/)?docker/dockerfile(-upstream)?$`).MatchString(name)
}

// isOwn tells whether a frontend is the language with what docker's hasn't got: of the first version, however exact.
func isOwn(ref string) bool { return ref == ownSyntax || strings.HasPrefix(ref, ownSyntax+".") }

// readCheck reads the options of the linter, up to the first space of the directive: what follows is a remark.
func (f *File) readCheck(text []byte, given *string) error {
	value, _, ranges, _ := parser.ParseDirective("check", text)
	if given != nil {
		value = *given
	}
	config, err := linter.ParseLintOptions(value)
	if err == nil {
		f.Check = *config
		return nil
	}
	message, _, _ := strings.Cut(cleanMessage(err), ": strconv.")
	message = strings.Replace(message, "failed to parse", "invalid", 1)
	const hint = "skip=StageNameCasing,FromAsCasing;error=true"
	if given != nil {
		return f.NewError(Location{File: f.Name}, fmt.Sprintf("build argument %s: %s", checkArg, message),
			"for example: "+checkArg+"="+hint)
	}
	return f.NewError(f.Location(ranges), message, "for example: # check="+hint)
}
