package imagecmd

import "github.com/cooperbuild/cooper/cmd/cooper/internal/command"

// Verbs are the verbs for images, by name.
func Verbs() []command.Verb {
	return []command.Verb{
		{Name: "diff", New: newDiffCmd}, {Name: "history", New: newHistoryCmd}, {Name: "image", New: newImageCmd},
		{Name: "images", New: newImagesCmd}, {Name: "inspect", New: newInspectCmd}, {Name: "load", New: newLoadCmd},
		{Name: "pull", New: newPullCmd}, {Name: "push", New: NewPushCmd},
		{Name: "rmi", New: newRmiCmd}, {Name: "save", New: newSaveCmd}, {Name: "tag", New: newTagCmd},
		{Name: "untag", New: newUntagCmd},
	}
}
