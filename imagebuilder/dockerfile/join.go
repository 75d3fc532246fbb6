package dockerfile

import "github.com/moby/buildkit/frontend/dockerfile/parser"

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

// join adds the instructions of a further file to the tree of those before, as if they stood in one file.
func (f *File) join(root *parser.Node, t Text) error {
	nodes, err := f.further(t)
	root.Children = append(root.Children, nodes...)
	return err
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
