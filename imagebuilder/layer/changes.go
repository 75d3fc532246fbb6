package layer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// change is one path component of the lists that ReadChanges is given: its children are the paths below it.
type change struct {
	children map[string]*change
	changed  bool // the path itself, or one below it, was added or changed: it exists and belongs to the layer
	deleted  bool // the file that the parent layer had at this path was deleted
}

// changeTree arranges lists of paths as a tree. Paths are relative to the root, a leading slash is allowed.
func changeTree(changed, deleted []string) (*change, error) {
	root := &change{changed: true}
	for _, p := range changed {
		if _, err := root.add(p, true); err != nil {
			return nil, err
		}
	}
	for _, p := range deleted {
		c, err := root.add(p, false)
		if err != nil {
			return nil, err
		}
		if c == root {
			return nil, fmt.Errorf("delete %q: the root of a layer can't be deleted", p)
		}
		c.deleted = true
	}
	return root, nil
}

// add returns the node of a path, making it and its parents. A changed path makes its parents part of the layer as
// well.
func (c *change) add(path string, changed bool) (*change, error) {
	for name := range strings.SplitSeq(path, "/") {
		switch name {
		case "", ".":
			continue
		case "..":
			return nil, fmt.Errorf("changed path %q: leaves the root", path)
		}
		child := c.children[name]
		if child == nil {
			child = &change{}
			if c.children == nil {
				c.children = map[string]*change{}
			}
			c.children[name] = child
		}
		child.changed = child.changed || changed
		c = child
	}
	return c, nil
}

// names returns the children's names in byte order.
func (c *change) names() []string { return slices.Sorted(maps.Keys(c.children)) }
