package dockerfile

import (
	"bytes"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// A Text is a Dockerfile that isn't parsed yet.
type Text struct {
	// Name is what errors and warnings call it.
	Name string
	Text []byte
}

// part is one of several files that were joined.
type part struct {
	name string
	// before is how many lines of other files stand before it in File.Lines.
	before int
}

// join adds the instructions of a further file to the tree of those before, as if they stood in one file. Its escape
// directive is its own; its other directives count for nothing.
func (f *File) join(root *parser.Node, t Text) error {
	alone := &File{Name: t.Name, Lines: splitLines(t.Text)}
	if err := alone.checkText(t.Text); err != nil {
		return err
	}
	ast, err := parser.Parse(bytes.NewReader(t.Text))
	if err != nil {
		return alone.parserError(err)
	}
	if err := alone.checkOnBuild(ast.AST); err != nil {
		return err
	}
	before := len(f.Lines)
	for _, node := range ast.AST.Children {
		node.StartLine += before
		node.EndLine += before
	}
	root.Children = append(root.Children, ast.AST.Children...)
	f.Lines = append(f.Lines, alone.Lines...)
	f.parts = append(f.parts, part{t.Name, before})
	return nil
}

// placed makes a location of lines of File.Lines one of the file that they are from.
func (f *File) placed(loc Location) Location {
	for n := len(f.parts) - 1; n >= 0; n-- {
		if p := f.parts[n]; loc.StartLine > p.before {
			return Location{File: p.name, StartLine: loc.StartLine - p.before, EndLine: loc.EndLine - p.before}
		}
	}
	return loc
}

// line is the number of a location's first line in File.Lines.
func (f *File) line(loc Location) int {
	if loc.StartLine == 0 || loc.File == f.Name {
		return loc.StartLine
	}
	for _, p := range f.parts {
		if p.name == loc.File {
			return loc.StartLine + p.before
		}
	}
	return loc.StartLine
}
