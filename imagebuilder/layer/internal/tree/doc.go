// Package tree walks the directories of layers and reads the attributes of their files. It follows no symbolic link and
// joins no paths: it opens directories one component at a time, relative to their parent's descriptor.
package tree

import "errors"

// Errors of trees that are no layers, or of which no layer can be made.
var (
	// ErrReservedName reports a file that a layer can't hold because it would read as a deletion mark: its name begins
	// with WhiteoutPrefix, or it is a character device 0:0 outside a diff directory.
	ErrReservedName = errors.New("names that begin with .wh. and devices numbered 0:0 mark deleted files in a layer")
	// ErrChanged reports that a file grew, shrank or was replaced while it was read.
	ErrChanged = errors.New("changed while being read")
	// ErrRedirect reports a diff directory written with overlay's redirect_dir or metacopy: it doesn't hold its own
	// content.
	ErrRedirect = errors.New("overlay redirect or metacopy mark: the directory is not a complete layer")
)

const (
	// WhiteoutPrefix begins the names of deletion marks (image-spec, layer.md, "Whiteouts").
	WhiteoutPrefix = ".wh."
	// PermMask are the permission, set-ID and sticky bits of a mode.
	PermMask = 0o7777
)
