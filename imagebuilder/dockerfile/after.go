package dockerfile

import (
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// afterFlag is the flag of FROM that names a stage which is to be done before. Docker's language hasn't got it,
// buildah's has.
const afterFlag = "--after="

// takeAfter takes the --after of each FROM out of the nodes, for the instructions package refuses them.
func (f *File) takeAfter(root *parser.Node) {
	if !f.own {
		return
	}
	for _, n := range root.Children {
		if !strings.EqualFold(n.Value, command.From) {
			continue
		}
		var names []string
		n.Flags = slices.DeleteFunc(n.Flags, func(flag string) bool {
			name, is := strings.CutPrefix(flag, afterFlag)
			if is {
				names = append(names, name)
			}
			return is
		})
		f.after = append(f.after, names)
	}
}

// After are the stages that the FROM of a stage, by its index in Stages, asks to be done before, as written.
func (f *File) After(index int) []string {
	if index >= len(f.after) {
		return nil
	}
	return f.after[index]
}
