package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// hierarchy is a mounted tree of control groups.
type hierarchy struct {
	mount string // where it is mounted
	own   string // the caller's group, a path below mount that begins with a slash
	v2    bool
}

// dir is the directory of a group that is named by its path below the mount.
func (h hierarchy) dir(group string) string { return filepath.Join(h.mount, group) }

// trees are the hierarchies of the machine that the caller sees.
type trees struct {
	unified *hierarchy           // version 2; nil: it isn't mounted
	legacy  map[string]hierarchy // version 1, by controller
}

// look finds the hierarchies by the files of proc, which is /proc except in tests.
func look(proc string) (trees, error) {
	t := trees{legacy: map[string]hierarchy{}}
	text, err := os.ReadFile(filepath.Join(proc, "self/cgroup"))
	if err != nil {
		return t, err
	}
	own := ownGroups(string(text))
	mounts, err := os.ReadFile(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return t, err
	}
	for line := range strings.Lines(string(mounts)) {
		t.add(line, own)
	}
	return t, nil
}

// ownGroups gives the groups that the caller is in, by the controllers that they have; of version 2 by "".
func ownGroups(text string) map[string]string {
	own := map[string]string{}
	for line := range strings.Lines(text) {
		_, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, path, also := strings.Cut(rest, ":")
		if !ok || !also {
			continue
		}
		for name := range strings.SplitSeq(controllers, ",") {
			own[name] = path
		}
	}
	return own
}

// add takes a line of mountinfo (proc_pid_mountinfo(5)).
func (t *trees) add(line string, own map[string]string) {
	before, after, ok := strings.Cut(line, " - ")
	fields, kind := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < 6 || len(kind) < 3 || slices.Contains(strings.Split(fields[5], ","), "ro") {
		return
	}
	root, mount := fields[3], unescape(fields[4])
	switch kind[0] {
	case "cgroup2":
		if path, ok := below(root, own[""]); ok && t.unified == nil {
			t.unified = &hierarchy{mount: mount, own: path, v2: true}
		}
	case "cgroup":
		for name := range strings.SplitSeq(kind[2], ",") {
			path, is := own[name]
			if !is || strings.HasPrefix(name, "name=") {
				continue
			}
			if path, ok := below(root, path); ok {
				t.legacy[name] = hierarchy{mount: mount, own: path}
			}
		}
	}
}

// below makes a path of a hierarchy one below the group that is the root of a mount.
func below(root, path string) (string, bool) {
	if root == "/" {
		return path, path != "" && !strings.HasPrefix(path, "/..")
	}
	rest, ok := strings.CutPrefix(path+"/", root+"/")
	return "/" + strings.TrimSuffix(rest, "/"), ok
}

// unescape undoes what mountinfo does to spaces and the like.
func unescape(text string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(text)
}
