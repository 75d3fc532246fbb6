package library

import (
	"os"
	"sync/atomic"

	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"
)

// madeFlag is the flag in the records of layers that were made of staged directories.
const madeFlag = "cooper"

// A claim has ApplyStagedLayer make a layer, or leave alone the one that another tool has made meanwhile. The library
// itself puts the staged directory into the place of whatever has the ID.
//
// It looks for that under its lock, and only if there is nothing it writes a record before it moves the directory. So
// the claim is a flag of the record: until the library writes that, the staged directory is said to be nowhere. With a
// layer that is there, the library fails at setting that directory's mode, before it removes anything. It sets the mode
// of layers with a parent only, so for the others a moment is left: see replaced.
type claim struct {
	out  *drivers.DriverWithDifferOutput
	dir  string
	mode *os.FileMode
	// made is set when the library writes the record of the layer for the first time.
	made atomic.Bool
}

// claimFor changes the options of a layer so that it is made or left alone.
func claimFor(o *storage.ApplyStagedLayerOptions) *claim {
	c := &claim{out: o.DiffOutput, dir: o.DiffOutput.Target, mode: o.DiffOutput.RootDirMode}
	if o.ParentLayer != "" {
		c.out.Target, c.out.RootDirMode = "", nil
	}
	options := storage.LayerOptions{}
	if o.LayerOptions != nil {
		options = *o.LayerOptions
	}
	options.Flags = map[string]any{madeFlag: c}
	o.LayerOptions = &options
	return c
}

// MarshalJSON is called by the library whenever it writes the records of layers.
func (c *claim) MarshalJSON() ([]byte, error) {
	if !c.made.Swap(true) {
		c.giveBack()
	}
	return []byte("true"), nil
}

// giveBack gives the caller's values back.
func (c *claim) giveBack() { c.out.Target, c.out.RootDirMode = c.dir, c.mode }

// there tells whether the layer was there, by what the library has answered.
func (c *claim) there(l *storage.Layer) bool { return l != nil && !c.made.Load() }

// replaced tells whether the files of a layer that was there are those of the staged directory now. The layer's ID is
// made of their digest, so they are the same files.
func (c *claim) replaced(err error) bool { return err == nil && !c.made.Load() }
