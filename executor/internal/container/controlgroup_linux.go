package container

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ControlGroupDir is where programs look for the limits of their control group, relative to the root.
const ControlGroupDir = "sys/fs/cgroup"

// controlGroupIsAlone says that a control group namespace made now shows this program's own group and no other: the
// group is not the machine's top one, and none is below it. Whatever is not known for sure is a no: groups of version
// 1, a tree that is not mounted from the root of this program's namespace, and groups of threads.
func controlGroupIsAlone() bool {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return false
	}
	_, own, ok := strings.Cut("\n"+string(groups), "\n0::")
	if !ok {
		return false
	}
	own, _, _ = strings.Cut(own, "\n")
	words := func(name string) []string { // nil if there is no such file
		data, _ := os.ReadFile(filepath.Join("/", ControlGroupDir, own, name))
		return strings.Fields(string(data))
	}
	below := words("cgroup.stat")
	i := slices.Index(below, "nr_descendants") + 1
	return i > 0 && i < len(below) && below[i] == "0" &&
		slices.Equal(words("cgroup.type"), []string{"domain"}) && // the top group has no such file
		slices.Contains(words("cgroup.procs"), strconv.Itoa(os.Getpid()))
}
