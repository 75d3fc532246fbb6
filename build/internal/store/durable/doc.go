// Package durable sees to it that what a record names is on the disk, and knows what was lost if the disk was stopped.
//
// What a build makes is on the disk before a record names it: layers first, then DIR/synced, which lists the layers
// that can't be lost any more, then the records of images, and in the end the directory of these. A layer that isn't in
// the list when the file system has been mounted anew is measured before it is used, which the room mend does.
//
// What the storage library can't be opened with after a crash, or would do harm with, is repaired here as well, before
// the library opens it.
package durable
