package imagecmd

import (
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// Commands are the verbs for images, by name.
func Commands(env command.Env) []*cobra.Command {
	return []*cobra.Command{
		newDiffCmd(env), newHistoryCmd(env), newImageCmd(env), newImagesCmd(env), newInspectCmd(env), newLoadCmd(env),

		newPullCmd(env), NewPushCmd(env), newRmiCmd(env), newSaveCmd(env), newTagCmd(env), newUntagCmd(env),
	}
}
