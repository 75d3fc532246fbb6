package treetest

import (
	"archive/tar"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
)

// Random returns a tree of about a hundred files with awkward names; with marks it is a diff directory.
func Random(seed uint64, marks bool) []Node {
	r := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // a seed gives the same tree in each run
	var nodes []Node
	dirs, files := []string{""}, []string(nil)
	used := map[string]bool{}
	for len(nodes) < 100 {
		parent := dirs[r.IntN(len(dirs))]
		path := parent + randomName(r)
		if used[path] || len(path) > 3000 {
			continue
		}
		used[path] = true
		n := Node{Path: path, Mode: r.Uint32() & tree.PermMask, UID: r.IntN(1 << r.IntN(31)), GID: r.IntN(1 << r.IntN(31))}
		n.MTime = r.Int64N(1<<33) - 1000
		switch k := r.IntN(12); {
		case k < 3:
			n.Type = tar.TypeDir
			dirs = append(dirs, path+"/")
			if marks && r.IntN(3) == 0 {
				n.Xattrs = map[string]string{OpaqueMark(): "y"}
			}
		case k < 7:
			n.Type = tar.TypeReg
			n.Data = strings.Repeat(path+"\x00", r.IntN(1<<r.IntN(12)))
			files = append(files, path)
		case k == 7 && len(files) > 0:
			target := nodes[IndexOf(nodes, files[r.IntN(len(files))])]
			n = Node{Path: path, Type: tar.TypeLink, Link: target.Path, MTime: target.MTime}
		case k == 8:
			n.Type, n.Link = tar.TypeSymlink, strings.Repeat(randomName(r)+"/", 1+r.IntN(5))
		case k == 9:
			n.Type = tar.TypeFifo
		case k == 10:
			n.Type, n.Major, n.Minor = tar.TypeChar, 1+r.Uint32N(4000), r.Uint32N(1<<20)
		case marks:
			n.Type, n.Mode = 'w', 0
		default:
			n.Type, n.Major, n.Minor = tar.TypeBlock, 1+r.Uint32N(4000), r.Uint32N(1<<20)
		}
		n.addXattrs(r)
		nodes = append(nodes, n)
	}
	return nodes
}

// addXattrs gives a file or directory extended attributes now and then.
func (n *Node) addXattrs(r *rand.Rand) {
	if (n.Type == tar.TypeReg || n.Type == tar.TypeDir) && n.Xattrs == nil && r.IntN(4) == 0 {
		n.Xattrs = map[string]string{fmt.Sprintf("user.x%d", r.IntN(9)): randomName(r), "user.z": "\x00=\n"}
	}
	if n.Type == tar.TypeReg && r.IntN(6) == 0 {
		n.Xattrs = map[string]string{tree.CapabilityXattr: Capability2}
	}
}

// IndexOf is the index of the node with a path; -1: there is none.
func IndexOf(nodes []Node, path string) int {
	for i, n := range nodes {
		if n.Path == path {
			return i
		}
	}
	return -1
}

// randomName returns a file name of any bytes but those that no name has.
func randomName(r *rand.Rand) string {
	switch r.IntN(4) {
	case 0:
		return fmt.Sprintf("f%d", r.IntN(1000))
	case 1:
		return []string{"-x", "a b", "*", "\\n", "ä", "日本", "a\nb", "\xff", "gr\xfc\xdfe", "~", "...", " ", "\t", "'",
			"\"<&>", "\u2028"}[r.IntN(16)] + fmt.Sprint(r.IntN(10))
	case 2:
		return strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(255))
	}
	b := make([]byte, 1+r.IntN(40))
	for i := range b {
		for b[i] == 0 || b[i] == '/' {
			b[i] = byte(r.Uint32())
		}
	}
	if string(b) == "." || string(b) == ".." {
		return "dot"
	}
	return string(b)
}
