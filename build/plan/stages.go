package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// stageList has the stages of a file, in file order.
type stageList struct {
	file *dockerfile.File
	all  []*stage
	// named has the last stage of each name.
	named map[string]*stage
}

func newStageList(f *dockerfile.File) *stageList {
	return &stageList{file: f, named: map[string]*stage{}}
}

// add adds a stage below the others.
func (l *stageList) add(st *stage) {
	l.all = append(l.all, st)
	if st.src.Name != "" {
		l.named[st.src.Name] = st
	}
}

// lastNamed gives the last stage of a name above the index before. If there is none, it gives a stage of that name
// further below, for the error, or nil.
func (l *stageList) lastNamed(name string, before int) *stage {
	name = strings.ToLower(name)
	for n := min(before, len(l.all)) - 1; n >= 0; n-- {
		if l.all[n].src.Name == name {
			return l.all[n]
		}
	}
	return l.named[name]
}

func (l *stageList) target(name string) (*stage, error) {
	if name == "" {
		return l.all[len(l.all)-1], nil
	}
	if st, ok := l.named[strings.ToLower(name)]; ok {
		return st, nil
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < len(l.all) {
		return l.all[n], nil
	}
	return nil, l.file.NewError(dockerfile.Location{File: l.file.Name}, fmt.Sprintf("there is no target stage %q", name),
		nearHint(dockerfile.Nearest(strings.ToLower(name), l.names(len(l.all))))+l.list(len(l.all)))
}

// names gives the names of the stages above an index.
func (l *stageList) names(before int) []string {
	var names []string
	for _, st := range l.all[:min(before, len(l.all))] {
		if st.src.Name != "" {
			names = append(names, st.src.Name)
		}
	}
	return names
}

// hint gives the hint for a name that wasn't found and may be a misspelt stage.
func (l *stageList) hint(name string, st *stage) string {
	later, ok := l.named[strings.ToLower(name)]
	if ok && later == st {
		return fmt.Sprintf("the stage that is called %s can't be its own base", name)
	}
	if ok && later.index > st.index {
		return fmt.Sprintf("the stage %q is defined later, at line %d; move it up", name, later.loc.StartLine)
	}
	near := dockerfile.Nearest(strings.ToLower(name), l.names(st.index))
	if near == "" {
		return ""
	}
	return nearHint(near) + l.list(st.index)
}

// list lists the stages above an index, cut short if there are many.
func (l *stageList) list(before int) string {
	var names []string
	for _, st := range l.all[:min(before, len(l.all))] {
		names = append(names, st.name())
	}
	if len(names) == 0 {
		return "there is no stage above this one"
	}
	const most = 20
	if len(names) > most {
		names = append(names[:most], "...")
	}
	return "the stages are " + strings.Join(names, ", ")
}

// checkCycles refuses stages that need each other, in whatever order they stand.
func (l *stageList) checkCycles() error {
	const (
		entered = 1
		left    = 2
	)

	state := map[*stage]int{}
	var path []*stage
	var visit func(st *stage) error
	visit = func(st *stage) error {
		state[st] = entered
		path = append(path, st)
		for _, dep := range st.stageDeps() {
			switch state[dep] {
			case entered:
				return l.cycleError(path, dep)
			case left:
				continue
			}
			if err := visit(dep); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		state[st] = left
		return nil
	}

	for _, st := range l.all {
		if state[st] == 0 {
			if err := visit(st); err != nil {
				return err
			}
		}
	}

	return nil
}

// cycleError gives the error for stages that need each other. path is a chain of stages of which each needs the next;
// the last needs again, which is in path, too. The error's location is the instruction by which a stage takes from one
// that stands below it in the file.
func (l *stageList) cycleError(path []*stage, again *stage) error {
	circle := append(slices.Clone(path[slices.Index(path, again):]), again)
	names := []string{again.name()}
	var loc []parser.Range
	for n, st := range circle[:len(circle)-1] {
		dep := circle[n+1]
		names = append(names, dep.name())
		if dep.index >= st.index && loc == nil {
			loc = st.takesFrom(dep)
		}
	}
	if len(names) == 2 {
		return l.file.NewError(l.file.Location(loc), fmt.Sprintf("stage %q takes files from itself", again.name()),
			"a stage may only use stages above it")
	}
	return l.file.NewError(l.file.Location(loc), "the stages need each other: "+strings.Join(names, " -> "),
		"a stage may only use stages above it")
}

func nearHint(near string) string {
	if near == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %s? ", near)
}
