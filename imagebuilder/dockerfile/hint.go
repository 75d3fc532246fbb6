package dockerfile

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/suggest"
)

// Nearest gives the option that a misspelt name most probably means, or "" if none is close.
func Nearest(name string, options []string) string {
	sorted := slices.Sorted(slices.Values(options))
	for _, option := range sorted {
		if name != option && letters(name) == letters(option) {
			return option // letters in the wrong order are the likeliest slip
		}
	}
	match, _ := suggest.Search(name, sorted, false)
	return match
}

func letters(name string) string {
	return string(slices.Sorted(slices.Values([]byte(strings.ToLower(name)))))
}

// parserError places and explains an error of the parser package.
func (f *File) parserError(err error) error {
	loc := f.errorLocation(err)
	message := cleanMessage(err)
	switch {
	case strings.HasPrefix(message, "file with no instructions"):
		return f.NewError(Location{File: f.Name}, "the Dockerfile has no instructions", usage(command.From))
	case strings.HasPrefix(message, "invalid escape token"), strings.HasPrefix(message, "only one"):
		// For directives the parser counts lines from 0.
		loc.StartLine++
		loc.EndLine = loc.StartLine
		return f.NewError(loc, message,
			"directives are # escape=, # syntax= and # check=, each at most once, escape one of \\ and `")
	case message == "unterminated heredoc":
		return f.NewError(loc, message, "end it with a line that is the heredoc's name and nothing else")
	}
	name := ""
	if text := strings.Fields(f.Text(loc)); len(text) > 0 {
		name = strings.ToLower(text[0])
	}
	return f.NewError(loc, message, usage(name))
}

// errorLocation gives the location that an error of BuildKit's packages carries, or the whole file.
func (f *File) errorLocation(err error) Location {
	var located *parser.LocationError
	if errors.As(err, &located) && len(located.Locations) > 0 {
		return f.Location(located.Locations[0])
	}
	return Location{File: f.Name}
}

// cleanMessage gives the text of an error of BuildKit's packages without the line number in front of it and the
// suggestion behind it.
func cleanMessage(err error) string {
	message := regexp.MustCompile(`^dockerfile parse error on line \d+: `).ReplaceAllString(err.Error(), "")
	return regexp.MustCompile(` \(did you mean [^()]*\?\)$`).ReplaceAllString(message, "")
}

// suggestion gives the name that an error of BuildKit's packages suggests, or "".
func suggestion(err error) string {
	match := regexp.MustCompile(` \(did you mean ([^()]*)\?\)$`).FindStringSubmatch(err.Error())
	if match == nil {
		return ""
	}
	return match[1]
}

func nearestInstruction(name string) string {
	all := slices.Sorted(maps.Keys(command.Commands))
	if match := Nearest(strings.ToLower(name), all); match != "" {
		return fmt.Sprintf("did you mean %s?", strings.ToUpper(match))
	}
	return "the instructions are " + strings.ToUpper(strings.Join(all, ", "))
}

// Explain turns an error of the BuildKit packages about an instruction into what is wrong and what would be right.
func Explain(instruction string, err error) (message, hint string) {
	message = cleanMessage(err)
	if text, ok := strings.CutPrefix(message, "time: "); ok {
		return strings.ToUpper(instruction) + ": " + text, "a time is a number with a unit, such as 30s or 1m30s"
	}
	return message, hintFor(strings.ToLower(instruction), message, err)
}

// hintFor gives the hint for an error of an instruction: name is the instruction in lower case, message the error's
// cleaned text and err the error itself.
func hintFor(name, message string, err error) string {
	if flag, ok := strings.CutPrefix(message, "unknown flag: --"); ok {
		return flagHint(name, flag)
	}
	if kind, ok := strings.CutPrefix(message, "unsupported mount type "); ok {
		types := []string{"bind", "cache", "secret", "ssh", "tmpfs"}
		if match := Nearest(strings.Trim(kind, `"`), types); match != "" {
			return fmt.Sprintf("did you mean type=%s?", match)
		}
		return "the types are " + strings.Join(types, ", ")
	}

	switch {
	case strings.HasPrefix(message, "invalid network mode"):
		return "the modes are default, host and none"
	case strings.HasPrefix(message, "security "):
		return "the modes are sandbox and insecure"
	case strings.HasPrefix(message, "unsupported sharing value"):
		return "the sharing modes are shared, private and locked"
	case strings.HasPrefix(message, "invalid name for build stage"):
		return "a stage name starts with a letter and has letters, digits, '-', '_' and '.'"
	case strings.Contains(message, "doesn't support variable expansion"):
		return "FROM may use an ARG: define a stage with FROM $ARG AS NAME and use NAME"
	}

	if match := suggestion(err); match != "" {
		return fmt.Sprintf("did you mean %s?", match)
	}
	if hint := mountHint(message); name == command.Run && hint != "" {
		return hint
	}

	return usage(name)
}

// mountHint gives the hint for a message of the parser of RUN --mount, and "" for any other message.
func mountHint(message string) string {
	switch {
	case strings.HasPrefix(message, "invalid value for size"):
		return "a size is a number of bytes, or one with a unit, such as 64m"
	case strings.HasPrefix(message, "invalid value for "):
		return "the values are true and false"
	case strings.HasPrefix(message, "invalid value ") && strings.HasSuffix(message, " for mode"):
		return "a mode is octal, such as 0755"
	case strings.HasPrefix(message, "invalid value "):
		return "an owner is given by number"
	}
	for _, part := range []string{"unexpected key '", "invalid field '", "not allowed for", "secret mount",
		"cache sharing", "source and id"} {
		if strings.Contains(message, part) {
			return mountOptions
		}
	}
	return ""
}

const mountOptions = "bind takes target, source, from, rw; cache takes target, id, ro, sharing, from, source, mode, uid, gid; tmpfs takes target, size; " +
	"secret takes id, target, env, required, mode, uid, gid; ssh takes id, target, required, mode, uid, gid"

func flagHint(instruction, flag string) string {
	flags := map[string][]string{
		command.From:        {"platform"},
		command.Run:         {"mount", "network", "security"},
		command.Copy:        {"chmod", "chown", "exclude", "from", "link", "parents"},
		command.Add:         {"chmod", "chown", "exclude", "link", "unpack"},
		command.Healthcheck: {"interval", "retries", "start-interval", "start-period", "timeout"},
	}[instruction]
	upper := strings.ToUpper(instruction)
	if len(flags) == 0 {
		return upper + " takes no flags"
	}
	if match := Nearest(flag, flags); match != "" {
		return fmt.Sprintf("did you mean --%s?", match)
	}
	return fmt.Sprintf("the flags of %s are --%s", upper, strings.Join(flags, ", --"))
}

// usage gives the form of an instruction, which is named in lower case, or "" if there is no such instruction.
func usage(instruction string) string {
	form, ok := map[string]string{
		command.Add:         "ADD [--chown=USER[:GROUP]] [--chmod=MODE] SOURCE... DEST",
		command.Arg:         "ARG NAME[=VALUE]...",
		command.Cmd:         `CMD ["PROGRAM","ARGUMENT"...] or CMD COMMAND`,
		command.Copy:        "COPY [--from=STAGE|IMAGE|CONTEXT] [--chown=USER[:GROUP]] [--chmod=MODE] SOURCE... DEST",
		command.Entrypoint:  `ENTRYPOINT ["PROGRAM","ARGUMENT"...] or ENTRYPOINT COMMAND`,
		command.Env:         "ENV NAME=VALUE...",
		command.Expose:      "EXPOSE PORT[-PORT][/PROTOCOL]...",
		command.From:        "FROM [--platform=PLATFORM] IMAGE [AS NAME]",
		command.Healthcheck: "HEALTHCHECK [--interval=TIME] [--timeout=TIME] [--start-period=TIME] [--start-interval=TIME] [--retries=N] CMD COMMAND, or HEALTHCHECK NONE",
		command.Label:       "LABEL NAME=VALUE...",
		command.Maintainer:  "MAINTAINER NAME",
		command.Onbuild:     "ONBUILD INSTRUCTION",
		command.Run:         `RUN [--mount=...] [--network=default|host|none] [--security=sandbox|insecure] COMMAND or ["PROGRAM","ARGUMENT"...]`,
		command.Shell:       `SHELL ["PROGRAM","ARGUMENT"...]`,
		command.StopSignal:  "STOPSIGNAL SIGNAL",
		command.User:        "USER USER[:GROUP]",
		command.Volume:      "VOLUME PATH...",
		command.Workdir:     "WORKDIR PATH",
	}[instruction]
	if !ok {
		return ""
	}

	return "usage: " + form
}
