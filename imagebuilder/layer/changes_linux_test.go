package layer

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/treetest"
)

func TestReadChangesEqualsReadOfTheSameDiff(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			diff, root := t.TempDir(), t.TempDir()
			var marked, plain []treetest.Node
			var changed, deleted, opaque []string
			for _, n := range treetest.Random(seed, true) {
				if n.Type == 'w' && below(n.Path, opaque) {
					continue // overlay doesn't mark deletions where nothing shows through
				}
				marked = append(marked, n)
				if n.Type == 'w' {
					deleted = append(deleted, "/"+n.Path)
					continue
				}
				changed = append(changed, n.Path)
				if _, ok := n.Xattrs[treetest.OpaqueMark()]; ok {
					opaque = append(opaque, n.Path+"/")
					deleted = append(deleted, n.Path)
					n.Xattrs = nil
				}
				plain = append(plain, n)
			}
			// What else the root holds is of no concern.
			plain = append(plain, treetest.Node{Path: "unchanged", Type: typeReg, Data: "x"})
			treetest.Make(t, diff, marked)
			treetest.Make(t, root, plain)
			rand.New(rand.NewPCG(seed, 0)).Shuffle(len(changed), func(i, j int) {
				changed[i], changed[j] = changed[j],
					changed[i]
			})
			want, wantStream := layerOf(t, diff, Options{})
			got, gotStream := layerBy(t, root, Options{}, func(o Options) (Result, error) {
				return ReadChanges(context.Background(), root, changed, deleted, o)
			})
			if !reflect.DeepEqual(got, want) || !bytes.Equal(gotStream, wantStream) {
				t.Errorf("result %+v, want %+v", got, want)
				treetest.DiffLines(t, listing(t, gotStream), listing(t, wantStream))
			}
		})
	}
}

func below(path string, dirs []string) bool {
	for _, d := range dirs {
		if strings.HasPrefix(path, d) {
			return true
		}
	}
	return false
}

func TestReadChanges(t *testing.T) {
	root := t.TempDir()
	treetest.Make(t, root, []treetest.Node{
		{Path: "a", Type: typeDir, Mode: 0o755},
		{Path: "a/b", Type: typeDir, Mode: 0o755},
		{Path: "a/b/c", Type: typeReg, Mode: 0o644, Data: "c"},
		{Path: "a/b/d", Type: typeReg, Mode: 0o644, Data: "d"},
		{Path: "f", Type: typeReg, Mode: 0o644},
		{Path: "null", Type: 'w'},
		{Path: "out", Type: typeSymlink, Link: "/etc"},
		{Path: ".wh.x", Type: typeReg},
	})
	for name, c := range map[string]struct {
		changed, deleted, want []string
		fails                  string
	}{
		"nothing":                    {},
		"parents come along":         {changed: []string{"a/b/c"}, want: []string{"5 a/", "5 a/b/", "0 a/b/c"}},
		"and of deleted paths":       {deleted: []string{"/a/b/x"}, want: []string{"5 a/", "5 a/b/", "0 a/b/.wh.x"}},
		"a directory is only itself": {changed: []string{"/a/b/"}, want: []string{"5 a/", "5 a/b/"}},
		"given twice":                {changed: []string{"f", "./f", "//f"}, want: []string{"0 f"}},
		"replaced directory": {changed: []string{"a/b/c"}, deleted: []string{"a/b", "a/b/x", "a/b/x/y"},
			want: []string{"5 a/", "5 a/b/", "0 a/b/.wh..wh..opq", "0 a/b/c"}},
		"replaced file": {changed: []string{"f"}, deleted: []string{"f", "f/was/a/directory"},
			want: []string{"0 f"}},
		"deleted with what it held": {deleted: []string{"x/y/z", "x", "x/y"}, want: []string{"0 .wh.x"}},
		"sorted": {changed: []string{"f"}, deleted: []string{"g", "e"},
			want: []string{"0 .wh.e", "0 f", "0 .wh.g"}},
		"missing file":                 {changed: []string{"a/none"}, fails: `"a/none"`},
		"missing parent of a deletion": {deleted: []string{"none/x"}, fails: `"none"`},
		"file as parent":               {changed: []string{"f/x"}, fails: `"f/x"`},
		"link as parent":               {changed: []string{"out/passwd"}, fails: `"out/passwd"`},
		"out of the root":              {changed: []string{"a/../../etc"}, fails: "leaves the root"},
		"name of a mark":               {changed: []string{".wh.x"}, fails: `".wh.x"`},
		"deleted name of a mark":       {deleted: []string{".wh.y"}, fails: `".wh.y"`},
		"device that is a mark":        {changed: []string{"null"}, fails: `"null"`},
		"deleted root":                 {deleted: []string{"/"}, fails: "root"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.fails != "" {
				_, err := ReadChanges(context.Background(), root, c.changed, c.deleted, Options{})
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("error %v, want one with %s", err, c.fails)
				}
				return
			}
			res, stream := layerBy(t, root, Options{}, func(o Options) (Result, error) {
				return ReadChanges(context.Background(), root, c.changed, c.deleted, o)
			})
			var got []string
			for _, l := range listing(t, stream) {
				name := l[strings.IndexByte(l, '"'):]
				got = append(got, l[:2]+strings.Trim(strings.Fields(name)[0], `"`))
			}
			treetest.DiffLines(t, got, c.want)
			if res.Empty != (len(c.want) == 0) {
				t.Errorf("empty %v", res.Empty)
			}
		})
	}
}

func TestReadChangesRootEntry(t *testing.T) {
	root := t.TempDir()
	parent, err := ReadRootAttr(root)
	treetest.Check(t, err)
	o := Options{ParentRoot: &parent}
	res, err := ReadChanges(context.Background(), root, []string{"/"}, nil, o)
	treetest.Check(t, err)
	if !res.Empty {
		t.Error("unchanged root is not empty")
	}
	treetest.Check(t, os.Chmod(filepath.Clean(root), 0o711))
	if res, err = ReadChanges(context.Background(), root, nil, nil, o); err != nil || res.Empty {
		t.Errorf("changed root: %+v %v", res, err)
	}
}

func FuzzChangeTree(f *testing.F) {
	f.Add("a/b\x00c", "a\x00/d")
	f.Add("..", "./a//b/")
	f.Fuzz(func(t *testing.T, changed, deleted string) {
		tree, err := changeTree(strings.Split(changed, "\x00"), strings.Split(deleted, "\x00"))
		if err != nil {
			return
		}
		var walk func(c *change)
		walk = func(c *change) {
			for _, name := range c.names() {
				if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
					t.Errorf("name %q", name)
				}
				if c.children[name].changed && !c.changed {
					t.Errorf("parent of %q is not changed", name)
				}
				walk(c.children[name])
			}
		}
		walk(tree)
	})
}
