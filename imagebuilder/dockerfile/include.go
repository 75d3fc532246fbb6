package dockerfile

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

const (
	// include is the instruction that stands for those of another file; it is no part of docker's language.
	include = "include"
	// ownSyntax is the value of "# syntax=" by which a file asks for what docker's language hasn't got.
	ownSyntax = "cooper/dockerfile:1"
	// maxIncludes is how many INCLUDE there may be in all, maxNested how deep in each other.
	maxIncludes, maxNested = 1000, 32
)

// An Includer reads the file that INCLUDE names: at a path relative to the file, called from, that has the instruction.
// The same file always gets the same name.
type Includer func(from, path string) (Text, error)

// included puts the instructions of other files in the place of each INCLUDE. As they are instructions of one file
// then, arguments keep their values in them.
func (f *File) included(root *parser.Node, read Includer) error {
	if !f.own || !slices.ContainsFunc(root.Children, isInclude) {
		return nil
	}
	x := expansion{file: f, read: read}
	nodes, err := x.expand(root.Children, nil)
	root.Children = nodes
	return err
}

func isInclude(n *parser.Node) bool { return strings.EqualFold(n.Value, include) }

// expansion is the expansion of all INCLUDE of a file; count is how many there were so far, size the bytes of their
// files.
type expansion struct {
	file        *File
	read        Includer
	count, size int
}

// expand gives the nodes with those of included files. within are the names of the files that are being included.
func (x *expansion) expand(nodes []*parser.Node, within []string) (all []*parser.Node, err error) {
	for _, n := range nodes {
		if !isInclude(n) {
			all = append(all, n)
			continue
		}
		inner, name, err := x.open(n, within)
		if err != nil {
			return nil, err
		}
		if inner, err = x.expand(inner, append(within[:len(within):len(within)], name)); err != nil {
			return nil, err
		}
		all = append(all, inner...)
	}
	return all, nil
}

// open reads the file of an INCLUDE, whose name it gives, too.
func (x *expansion) open(n *parser.Node, within []string) (nodes []*parser.Node, name string, err error) {
	at := x.file.Location(n.Location())
	fail := func(hint, format string, args ...any) error {
		return x.file.NewError(at, fmt.Sprintf(format, args...), hint)
	}
	_, path, _ := strings.Cut(strings.TrimSpace(n.Original), " ")
	path = strings.TrimSpace(path)
	switch {
	case path == "":
		return nil, "", fail("INCLUDE FILE, with a path relative to this file", "INCLUDE names no file")
	case strings.ContainsAny(path, "$\n"):
		return nil, "", fail("write the path out", "INCLUDE %s: variables are not expanded in it", path)
	case len(within) >= maxNested, x.count >= maxIncludes:
		return nil, "", fail("", "INCLUDE %s: at most %d files are included, and %d in each other", path, maxIncludes,
			maxNested)
	case x.read == nil:
		return nil, "", fail("", "INCLUDE %s: there is no directory to take it from", path)
	}
	t, err := x.read(at.File, path)
	if err != nil {
		return nil, "", fail("the path is relative to the file that has the INCLUDE", "INCLUDE %s: %v", path, err)
	}
	if t.Name == x.file.Name || slices.Contains(within, t.Name) {
		return nil, "", fail("", "INCLUDE %s: the file includes itself", path)
	}
	if x.size += len(t.Text); x.size > maxSize {
		return nil, "", fail("", "INCLUDE %s: all included files are larger than %d MiB", path, maxSize>>20)
	}
	x.count++
	nodes, err = x.file.further(t)
	return nodes, t.Name, err
}

// further gives the instructions of another file, with the places that they have in File.Lines. Its escape directive is
// its own; its other directives count for nothing.
func (f *File) further(t Text) ([]*parser.Node, error) {
	alone := &File{Name: t.Name, Lines: splitLines(t.Text)}
	if err := alone.checkText(t.Text); err != nil {
		return nil, err
	}
	ast, err := parser.Parse(bytes.NewReader(t.Text))
	if err != nil {
		return nil, alone.parserError(err)
	}
	if err := alone.checkOnBuild(ast.AST); err != nil {
		return nil, err
	}
	before := len(f.Lines)
	for _, node := range ast.AST.Children {
		node.StartLine += before
		node.EndLine += before
	}
	f.Lines = append(f.Lines, alone.Lines...)
	f.parts = append(f.parts, part{t.Name, before})
	return ast.AST.Children, nil
}
