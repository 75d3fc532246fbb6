package dockerfile

import (
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// dropLabels takes podman's options that ask for an SELinux label out of the mounts of RUN instructions: steps have no
// labels, and BuildKit's packages don't know the options.
func dropLabels(nodes []*parser.Node) {
	for _, node := range nodes {
		switch strings.ToLower(node.Value) {
		case command.Run:
			for n, flag := range node.Flags {
				if options, is := strings.CutPrefix(flag, "--mount="); is && !strings.Contains(flag, `"`) {
					fields := slices.DeleteFunc(strings.Split(options, ","), isLabel)
					node.Flags[n] = "--mount=" + strings.Join(fields, ",")
				}
			}
		case command.Onbuild:
			if node.Next != nil {
				dropLabels(node.Next.Children)
			}
		}
	}
}

// isLabel tells whether an option of a mount is about nothing but its SELinux label.
func isLabel(option string) bool {
	return option == "z" || option == "Z" || strings.HasPrefix(option, "relabel=")
}
