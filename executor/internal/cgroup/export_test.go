package cgroup

import "github.com/cooperbuild/cooper/executor/step"

// Settings gives the lines that are written for limits, as FILE=TEXT.
func Settings(r step.Resources, v2 bool) (lines []string) {
	list := legacy(r)
	if v2 {
		list = unified(r)
	}
	for _, s := range list {
		lines = append(lines, s.file+"="+s.text)
	}
	return lines
}

// Where gives the directory of the caller's group for a controller, "" for version 2.
func Where(proc, controller string) (dir string, ok bool) {
	t, err := look(proc)
	if err != nil {
		return "", false
	}
	if controller == "" {
		if t.unified == nil {
			return "", false
		}
		return t.unified.dir(t.unified.own), true
	}
	h, ok := t.legacy[controller]
	return h.dir(h.own), ok
}

// SlicePath is slicePath.
func SlicePath(slice string) string { return slicePath(slice) }

// MakeHuge makes a group of version 2, with no huge page for its processes, as Make does for a caller in the group own
// of the tree at mount. parent is that of the limits.
func (m Maker) MakeHuge(mount, own, parent, name string) (*Group, error) {
	g := &Group{limits: step.Resources{Parent: parent}}
	need := []setting{{controller: "hugetlb", file: "hugetlb.2MB.max", text: "0"}}
	return g, m.makeUnified(g, hierarchy{mount: mount, own: own, v2: true}, need, name)
}
