package fileop

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// dir is a directory of the image: the one in the parent step's tree and the one in the layer, of which either may be
// missing.
type dir struct {
	parent *dir
	name   string
	// path is relative to the image's root.
	path string
	// view is a descriptor of the directory in the parent's tree, or -1 if that has none or the layer hides it.
	view int
	// blocked tells that the parent's tree has another kind of file in its place, replace that this may be replaced.
	blocked, replace bool
	// passing tells that the directory itself isn't copied, but holds a file that is copied with its parents: if it
	// exists, it gets the source's mode and keeps its other attributes.
	passing bool

	mu sync.Mutex
	// ready tells that layer, a descriptor of the directory in the layer, is set.
	ready atomic.Bool
	layer int
	// attrs are given to the directory when it is finished.
	attrs *attrs
	// inherits tells that a file made in the layer's directory may inherit the directory's group or an ACL.
	inherits bool
	// earlier is a descriptor of the directory in an earlier layer, -1 if that has none. It is set once sought is.
	earlier int
	sought  bool
}

func (d *dir) child(name string) string {
	if d.path == "" {
		return name
	}
	return d.path + "/" + name
}

// shut closes the descriptors.
func (d *dir) shut() {
	if d.view >= 0 {
		_ = unix.Close(d.view)
		d.view = -1
	}
	if d.layer >= 0 {
		_ = unix.Close(d.layer)
		d.layer = -1
	}
	if d.sought && d.earlier >= 0 {
		_ = unix.Close(d.earlier)
		d.earlier = -1
	}
}

func isWhiteout(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 }

// keep sets d.attrs for a directory that exists and is open as fd: its own attributes, unless it gets others.
func (d *dir) keep(fd int) error {
	if d.attrs != nil && !d.passing {
		return nil
	}
	has, err := attrsOf(fd, true)
	if err != nil {
		return err
	}
	if d.passing {
		has.mode = d.attrs.mode
	}
	d.attrs = has
	return nil
}

// reserved refuses names that a layer's archive would take for a deletion.
func reserved(name string) error {
	if strings.HasPrefix(name, ".wh.") {
		return fmt.Errorf("names starting with .wh. are %w", ErrWhiteout)
	}
	return nil
}
