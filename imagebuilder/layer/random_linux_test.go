package layer

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// randomTree returns a tree of about a hundred files with awkward names; with marks it is a diff directory.
func randomTree(seed uint64, marks bool) []node {
	r := rand.New(rand.NewPCG(seed, 7))
	var nodes []node
	dirs, files := []string{""}, []string(nil)
	used := map[string]bool{}
	for len(nodes) < 100 {
		parent := dirs[r.IntN(len(dirs))]
		path := parent + randomName(r)
		if used[path] || len(path) > 3000 {
			continue
		}
		used[path] = true
		n := node{path: path, mode: r.Uint32() & permMask, uid: r.IntN(1 << r.IntN(31)), gid: r.IntN(1 << r.IntN(31))}
		n.mtime = r.Int64N(1<<33) - 1000
		switch k := r.IntN(12); {
		case k < 3:
			n.typ = typeDir
			dirs = append(dirs, path+"/")
			if marks && r.IntN(3) == 0 {
				n.xattrs = map[string]string{opaqueMark(): "y"}
			}
		case k < 7:
			n.typ = typeReg
			n.data = strings.Repeat(path+"\x00", r.IntN(1<<r.IntN(12)))
			files = append(files, path)
		case k == 7 && len(files) > 0:
			target := nodes[indexOf(nodes, files[r.IntN(len(files))])]
			n = node{path: path, typ: typeLink, link: target.path, mtime: target.mtime}
		case k == 8:
			n.typ, n.link = typeSymlink, strings.Repeat(randomName(r)+"/", 1+r.IntN(5))
		case k == 9:
			n.typ = typeFifo
		case k == 10:
			n.typ, n.major, n.minor = typeChar, 1+r.Uint32N(4000), r.Uint32N(1<<20)
		case marks:
			n.typ, n.mode = 'w', 0
		default:
			n.typ, n.major, n.minor = typeBlock, 1+r.Uint32N(4000), r.Uint32N(1<<20)
		}
		if (n.typ == typeReg || n.typ == typeDir) && n.xattrs == nil && r.IntN(4) == 0 {
			n.xattrs = map[string]string{fmt.Sprintf("user.x%d", r.IntN(9)): randomName(r), "user.z": "\x00=\n"}
		}
		if n.typ == typeReg && r.IntN(6) == 0 {
			n.xattrs = map[string]string{capabilityXattr: capability2}
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func indexOf(nodes []node, path string) int {
	for i, n := range nodes {
		if n.path == path {
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
