package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

const (
	// maxSize, in bytes, bounds the work that a file can cause: some of the parser's costs grow faster than the file.
	maxSize = 4 << 20
	// maxLine is the length of the longest line that the parser takes, in bytes.
	maxLine = 1<<16 - 1
	// maxBraces is how many "${" a file may have. It bounds how deep expansions nest, each level of which takes stack.
	maxBraces = 100_000
	// maxOnBuild is how many ONBUILD a file may have. It bounds the recursion of the parser, which follows "ONBUILD
	// ONBUILD ONBUILD" to its end before checkOnBuild can refuse it.
	maxOnBuild = 10_000
)

// Options replace the directives of a file. The zero value replaces none.
type Options struct {
	// Check replaces the value of "# check=", Syntax that of "# syntax="; nil leaves the file's own directive in force.
	// They are the values of the build arguments BUILDKIT_DOCKERFILE_CHECK and BUILDKIT_SYNTAX.
	Check, Syntax *string
	// Then are files whose instructions follow those of the first.
	Then []Text
	// Include reads the files of INCLUDE; nil: there is nothing to read them from.
	Include Includer
}

// Parse reads a Dockerfile. Errors and warnings call it name. The error is always an *Error, and with it comes a File
// that can't be planned, but has the Name, the Lines and the Warnings found before the error.
func Parse(name string, text []byte, o Options) (file *File, err error) {
	f := &File{Name: name, Lines: splitLines(text)}
	defer func() {
		// The parser packages are not ours; a panic in them is a bug there, but never a crash here.
		if r := recover(); r != nil {
			file, err = f, f.NewError(Location{File: name}, fmt.Sprintf("the Dockerfile can't be parsed: %v", r), "")
		}
	}()
	return f, f.parse(text, o)
}

func (f *File) parse(text []byte, o Options) error {
	if err := f.checkText(text); err != nil {
		return err
	}
	if err := f.readDirectives(text, o); err != nil {
		return err
	}

	ast, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return f.parserError(err)
	}

	f.Escape = ast.EscapeToken
	if err := f.checkOnBuild(ast.AST); err != nil {
		return err
	}

	for _, t := range o.Then {
		if err := f.join(ast.AST, t); err != nil {
			return err
		}
	}

	if err := f.included(ast.AST, o.Include); err != nil {
		return err
	}

	lint := f.NewLinter(func(w Warning) { f.Warnings = append(f.Warnings, w) })
	for _, w := range ast.Warnings {
		if w.URL == linter.RuleNoEmptyContinuation.URL && w.Location != nil {
			lint.Run(&linter.RuleNoEmptyContinuation, []parser.Range{*w.Location}, linter.RuleNoEmptyContinuation.Format())
		}
	}

	f.takeAfter(ast.AST)
	dropLabels(ast.AST.Children)
	f.Stages, f.MetaArgs, err = instructions.Parse(ast.AST, lint)
	if err != nil {
		return f.instructionError(err, ast.AST)
	}
	if len(f.Stages) == 0 {
		return f.NewError(Location{File: f.Name}, "the Dockerfile has no FROM", usage(command.From))
	}

	lintStageNames(f.Stages, lint)
	lintCasing(f.Stages, lint)
	return nil
}

// ParseTrigger reads the single instruction in text that a base image's ONBUILD holds. ranges are the lines of the FROM
// that names that base image; they become the location of the instruction and of its errors.
func (f *File) ParseTrigger(text string, ranges []parser.Range, lint *linter.Linter) (cmd instructions.Command,
	err error) {
	at := f.Location(ranges)
	defer func() {
		if r := recover(); r != nil {
			cmd, err = nil, f.NewError(at, fmt.Sprintf("the ONBUILD instruction %q can't be parsed: %v", text, r), "")
		}
	}()

	if len(text) > maxSize || strings.Count(text, "${") > maxBraces {
		return nil, f.NewError(at, "an ONBUILD instruction of the base image is too large", "")
	}
	ast, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return nil, f.NewError(at, fmt.Sprintf("the ONBUILD instruction %q of the base: %s", text, cleanMessage(err)), "")
	}
	if len(ast.AST.Children) != 1 {
		return nil, f.NewError(at, fmt.Sprintf("the ONBUILD instruction %q of the base is not a single one", text), "")
	}

	node := ast.AST.Children[0]
	switch name := strings.ToLower(node.Value); name {
	case command.From, command.Maintainer, command.Onbuild:
		return nil, f.NewError(at, fmt.Sprintf("the base has an ONBUILD %s, which is not allowed", strings.ToUpper(name)), "")
	}

	dropLabels(ast.AST.Children)
	node.StartLine, node.EndLine = at.StartLine, at.EndLine
	parsed, err := instructions.ParseInstructionWithLinter(node, lint)
	if err != nil {
		return nil, f.NewError(at, fmt.Sprintf("the ONBUILD instruction %q of the base: %s", text, cleanMessage(err)), "")
	}

	cmd, ok := parsed.(instructions.Command)
	if !ok {
		return nil, f.NewError(at, fmt.Sprintf("the base has an ONBUILD %s, which is not allowed", node.Value), "")
	}
	return cmd, nil
}

func splitLines(text []byte) []string {
	lines := strings.Split(string(text), "\n")
	if len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	for n, line := range lines {
		lines[n] = strings.TrimSuffix(line, "\r")
	}
	if len(lines) > 0 {
		lines[0] = strings.TrimPrefix(lines[0], "\ufeff")
	}
	return lines
}

// checkText refuses a text that can't be a Dockerfile, or that would make the parser work without bound.
func (f *File) checkText(text []byte) error {
	whole := Location{File: f.Name}
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return f.NewError(whole, "the Dockerfile is empty", usage(command.From))
	case len(text) > maxSize:
		return f.NewError(whole, fmt.Sprintf("the Dockerfile is larger than %d MiB", maxSize>>20),
			"move data into files and COPY them")
	case bytes.HasPrefix(text, []byte{0xff, 0xfe}), bytes.HasPrefix(text, []byte{0xfe, 0xff}):
		return f.NewError(whole, "the Dockerfile is UTF-16 text", "save it as UTF-8")
	case bytes.IndexByte(text, 0) >= 0:
		return f.NewError(whole, "the Dockerfile is not a text file: it has a zero byte", "")
	case bytes.Count(text, []byte("${")) > maxBraces:
		return f.NewError(whole, fmt.Sprintf("the Dockerfile has more than %d ${...} expansions", maxBraces), "")
	case bytes.Count(bytes.ToLower(text), []byte(command.Onbuild)) > maxOnBuild:
		return f.NewError(whole, fmt.Sprintf("the Dockerfile has more than %d ONBUILD instructions", maxOnBuild), "")
	}

	for n, line := range f.Lines {
		if len(line) > maxLine {
			loc := Location{File: f.Name, StartLine: n + 1, EndLine: n + 1}
			return f.NewError(loc, fmt.Sprintf("the line is longer than %d bytes", maxLine),
				"end lines with a backslash and go on in the next, or move data into a file and COPY it")
		}
	}

	return nil
}

// checkOnBuild refuses nested ONBUILD before the instructions package recurses into it.
func (f *File) checkOnBuild(root *parser.Node) error {
	for _, node := range root.Children {
		if !strings.EqualFold(node.Value, command.Onbuild) || node.Next == nil || len(node.Next.Children) == 0 {
			continue
		}
		switch inner := strings.ToLower(node.Next.Children[0].Value); inner {
		case command.Onbuild, command.From, command.Maintainer:
			return f.NewError(f.Location(node.Location()), fmt.Sprintf("ONBUILD %s is not allowed", strings.ToUpper(inner)),
				"any instruction but FROM, MAINTAINER and ONBUILD may follow ONBUILD")
		}
	}
	return nil
}

// errNoStage is how the instructions package begins the error for an instruction before the first FROM.
const errNoStage = "no build stage in current context"

// instructionError places and explains an error of the instructions package.
func (f *File) instructionError(err error, root *parser.Node) error {
	loc := f.errorLocation(err)
	node := nodeAt(root, f.line(loc))
	var unknown *instructions.UnknownInstructionError
	if errors.As(err, &unknown) && strings.EqualFold(unknown.Instruction, include) {
		return f.NewError(loc, "docker's language has no INCLUDE",
			"# syntax="+ownSyntax+" in the first line of the Dockerfile asks for it")
	}
	if errors.As(err, &unknown) {
		return f.NewError(loc, fmt.Sprintf("unknown instruction %q", unknown.Instruction),
			nearestInstruction(unknown.Instruction))
	}
	message := cleanMessage(err)
	if message == "unknown flag: "+strings.TrimSuffix(afterFlag, "=") && node != nil {
		return f.NewError(loc, "docker's language has no FROM --after",
			"# syntax="+ownSyntax+" in the first line of the Dockerfile asks for it")
	}
	if node == nil {
		return f.NewError(loc, message, "")
	}
	name := strings.ToLower(node.Value)
	if message == errNoStage {
		return f.NewError(loc, strings.ToUpper(name)+" before the first FROM", "only ARG may stand before FROM")
	}
	if name == command.Onbuild && node.Next != nil && len(node.Next.Children) > 0 {
		name = strings.ToLower(node.Next.Children[0].Value)
	}
	message, hint := Explain(name, err)
	return f.NewError(loc, message, hint)
}

func nodeAt(root *parser.Node, line int) *parser.Node {
	for _, node := range root.Children {
		if node.StartLine <= line && line <= node.EndLine {
			return node
		}
	}
	return nil
}
