package dockerfile

import (
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// A Location is a range of lines in a file, counted from 1; both ends are part of it. A zero StartLine means the whole
// file.
type Location struct {
	File               string
	StartLine, EndLine int
}

// A Warning is a remark on a Dockerfile that can be built all the same.
type Warning struct {
	Location Location
	// Rule is the name of the lint rule, such as "StageNameCasing".
	Rule    string
	Message string
	// Description says what the rule is about, URL is its page; both may be empty.
	Description, URL string
	// Line is the text at the location's first line.
	Line string
}

// A File is a Dockerfile that was read. Two goroutines must not plan it at the same time: planning expands the
// variables of RUN --mount inside the instructions themselves, which is how BuildKit's packages do it.
type File struct {
	Name string
	// Lines is the text, split at line ends; of several files that were joined, all of them.
	Lines []string
	// parts are the files that were joined to the first one.
	parts []part
	// own says that the file asks for what docker's language hasn't got.
	own bool
	// after has the stages that each FROM names in --after.
	after [][]string
	// Stages are in file order and there is at least one.
	Stages []instructions.Stage
	// MetaArgs are the ARG instructions before the first FROM.
	MetaArgs []instructions.ArgCommand
	// Escape is the escape character, a backslash or a backtick.
	Escape rune
	// Check is what the "check" directive says; its Warn is nil.
	Check    linter.Config
	Warnings []Warning
}

// Location is the lines that ranges cover, first to last.
func (f *File) Location(ranges []parser.Range) Location {
	loc := Location{File: f.Name}
	for _, r := range ranges {
		end := max(r.Start.Line, r.End.Line)
		if loc.StartLine == 0 || r.Start.Line < loc.StartLine {
			loc.StartLine = r.Start.Line
		}
		loc.EndLine = max(loc.EndLine, end)
	}
	// The parser counts past the end for an instruction that isn't finished.
	loc.StartLine = min(loc.StartLine, len(f.Lines))
	loc.EndLine = min(loc.EndLine, len(f.Lines))
	return f.placed(loc)
}

// Text is the lines of a location, joined by line ends.
func (f *File) Text(loc Location) string {
	start := f.line(loc)
	if start < 1 || start > len(f.Lines) {
		return ""
	}
	end := min(start+max(loc.EndLine-loc.StartLine, 0), len(f.Lines))
	return strings.Join(f.Lines[start-1:end], "\n")
}

// NewError is an error at a location, with the text of its lines.
func (f *File) NewError(loc Location, message, hint string) *Error {
	return &Error{Location: loc, Line: f.Text(loc), Message: message, Hint: hint}
}

// NewLinter is a linter that follows the file's "check" directive and hands every finding to warn.
func (f *File) NewLinter(warn func(Warning)) *linter.Linter {
	config := f.Check
	config.Warn = func(rule, description, url, message string, ranges []parser.Range) {
		loc := f.Location(ranges)
		first := Location{File: loc.File, StartLine: loc.StartLine, EndLine: loc.StartLine}
		warn(Warning{Location: loc, Rule: rule, Message: message, Description: description, URL: url, Line: f.Text(first)})
	}
	return linter.New(&config)
}
