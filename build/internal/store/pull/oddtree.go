package pull

import (
	"archive/tar"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/store/unpack"
)

// oddTree is the tree of files that comes of a layer's archive when its members are unpacked one after the other into a
// root file system, as BuildKit and the driver vfs do. An overlay's directory can't be unpacked so: it doesn't show the
// layers below. The tree has no contents: it names members by their number in the archive, from 0.
type oddTree struct {
	root *oddNode
	// files are all files that the archive has brought so far, also those that a later member has removed again. next is
	// the number of the next member.
	files []*oddFile
	next  int
	// implied is how many directories there are, or were, that no member was at first.
	implied int
}

// maxImplied bounds them: a path names thousands of directories in a few kilobytes, and each takes memory.
const maxImplied = 1 << 20

type oddNode struct {
	// children are a directory's entries by name; nil in all others.
	children map[string]*oddNode
	// file is nil for directories and whiteouts.
	file *oddFile
	// member is the number of the member with the directory's attributes, or of the whiteout; -1: there is none.
	member int
	// opaque says that the directory hides what the layers below have in it.
	opaque bool
}

// oddFile is a file that isn't a directory. content sets member and below; result sets names, the paths that it has
// when the archive has ended.
type oddFile struct {
	member int
	// below is the path of a file of the layers below that the member is a hard link to.
	below string
	names []string
}

func newOddTree() *oddTree { return &oddTree{root: newOddDir(-1)} }

func newOddDir(member int) *oddNode { return &oddNode{children: map[string]*oddNode{}, member: member} }

func (n *oddNode) whiteout() bool { return n.children == nil && n.file == nil }

// add takes the next member.
func (t *oddTree) add(h *tar.Header) error {
	member := t.next
	t.next++
	name := unpack.MemberPath(h.Name)
	dir, base := path.Split(name)
	switch {
	case h.Typeflag == tar.TypeXGlobalHeader, strings.HasPrefix(name, "/"+unpack.WhiteoutPrefix+unpack.WhiteoutPrefix) &&
		name != "/"+unpack.OpaqueName:
		return nil
	case name == "/" && h.Typeflag != tar.TypeDir:
		return fmt.Errorf("its archive has a member %q that is no directory and would be the root", h.Name)
	case name == "/":
		t.root.member = member
		return nil
	}

	parent, err := t.dir(dir)
	if err != nil {
		return err
	}
	if hidden, ok := strings.CutPrefix(base, unpack.WhiteoutPrefix); ok {
		return parent.hide(hidden, member, h.Name)
	}

	old := parent.children[base]
	if h.Typeflag == tar.TypeDir {
		if old == nil || old.children == nil {
			parent.children[base] = newOddDir(member)
			parent.children[base].opaque = old != nil
		}
		parent.children[base].member = member
		return nil
	}

	file, err := t.content(h, member)
	if err == nil {
		parent.children[base] = &oddNode{file: file, member: -1}
	}
	return err
}

// content is the file of a member that is no directory; a hard link has that of its target.
func (t *oddTree) content(h *tar.Header, member int) (*oddFile, error) {
	file := &oddFile{member: member}
	if h.Typeflag == tar.TypeLink {
		target := unpack.MemberPath(h.Linkname)
		found, below, err := t.find(target)
		switch {
		case err != nil:
			return nil, fmt.Errorf("its archive has a hard link %q to %q, %w", h.Name, h.Linkname, err)
		case found != nil:
			return found, nil
		}
		file.below = below
	}
	t.files = append(t.files, file)
	return file, nil
}

// dir finds a directory, and makes what is missing of it.
func (t *oddTree) dir(name string) (*oddNode, error) {
	n := t.root
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		if part == "" {
			continue
		}
		child := n.children[part]
		switch {
		case child == nil, child.whiteout():
			if t.implied++; t.implied > maxImplied {
				return nil, fmt.Errorf("its archive has paths with more than %d directories that are no members of it", maxImplied)
			}
			n.children[part] = newOddDir(-1)
			n.children[part].opaque = child != nil
		case child.file != nil:
			return nil, fmt.Errorf("its archive has members below %q, which it says is no directory", name)
		}
		n = n.children[part]
	}
	return n, nil
}

// find finds the file that a hard link names: one of this layer, or the path of one below.
func (t *oddTree) find(name string) (file *oddFile, below string, err error) {
	n, hidden := t.root, false
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		if n.file != nil {
			return nil, "", fmt.Errorf("which is below what is no directory")
		}
		if part == "" { // of the root
			continue
		}
		hidden = hidden || n.opaque
		child := n.children[part]
		switch {
		case child == nil && hidden, child != nil && child.whiteout():
			return nil, "", fmt.Errorf("which is not there")
		case child == nil:
			return nil, name, nil
		}
		n = child
	}
	if n.file == nil {
		return nil, "", fmt.Errorf("which is a directory")
	}
	return n.file, "", nil
}

// hide takes a whiteout. What it hides goes from the tree as well, but for what is in a directory that becomes opaque.
func (n *oddNode) hide(name string, member int, written string) error {
	switch {
	case unpack.WhiteoutPrefix+name == unpack.OpaqueName:
		n.opaque = true
		maps.DeleteFunc(n.children, func(_ string, child *oddNode) bool { return child.whiteout() })
	case name == "", name == ".", name == "..":
		return fmt.Errorf("its archive has a whiteout %q, which hides nothing that can be", written)
	default:
		n.children[name] = &oddNode{member: member}
	}
	return nil
}

// oddMember says what becomes of a member. names are the paths of its file, the first of which gets the content; below
// is that of oddFile.
type oddMember struct {
	kind  oddKind
	names []string
	below string
}

type oddKind int

const (
	oddDropped oddKind = iota
	oddDir
	oddWhiteout
	oddContent
)

// result tells what becomes of each member, by its number, and gives the paths of the opaque directories and those of
// directories that are no members, each below those that it is in.
func (t *oddTree) result() (members map[int]*oddMember, opaque, implied []string) {
	members = map[int]*oddMember{}
	t.root.walk("/", func(name string, n *oddNode) {
		if n.opaque {
			opaque = append(opaque, name)
		}
		switch {
		case n.children != nil && n.member < 0 && n != t.root:
			implied = append(implied, name)
		case n.file != nil:
			n.file.names = append(n.file.names, name)
		case n.member >= 0 && n.children != nil:
			members[n.member] = &oddMember{kind: oddDir, names: []string{name}}
		case n.member >= 0:
			members[n.member] = &oddMember{kind: oddWhiteout, names: []string{name}}
		}
	})
	for _, f := range t.files {
		if len(f.names) > 0 {
			members[f.member] = &oddMember{kind: oddContent, names: f.names, below: f.below}
		}
	}
	return members, opaque, implied
}

func (n *oddNode) walk(name string, visit func(string, *oddNode)) {
	visit(name, n)
	for _, base := range slices.Sorted(maps.Keys(n.children)) {
		n.children[base].walk(path.Join(name, base), visit)
	}
}
