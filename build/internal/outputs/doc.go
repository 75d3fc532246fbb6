// Package outputs makes images of the root file systems that a build ends with, records them in the store with the
// names they get, and writes the outputs that were asked for: archives and directories of images, or the images' files.
//
// A name never points at an image whose output failed. What the cache counts on is held in the store by records of its
// own, see Anchor.
package outputs
