package pull

import (
	"fmt"

	"github.com/cooperbuild/cooper/userns"
)

// MissingIDs are the container IDs of an image's layers that the store's user can't map; see Options.
type MissingIDs struct {
	Image      string   // the name that it was asked for by
	UIDs, GIDs []uint32 // sorted, each once
}

func (e *MissingIDs) Error() string {
	what := "the image"
	if e.Image != "" {
		what = "image " + e.Image
	}
	return fmt.Sprintf("%s has files of %v, which this user's ranges do not reach", what,
		userns.IDs{UIDs: e.UIDs, GIDs: e.GIDs})
}
