// Package snapshot makes root file systems of a store's layers, and layers of what steps write to them: prepare, run,
// read, commit or remove. How the store keeps its layers shows nowhere above it.
//
// A snapshot is a root file system for one step. What the step writes is read once, committed as a layer or removed;
// a step in another user namespace sees the owners that its map gives, and the layer gets the image's. A view is one
// that is only looked at. All IDs are container IDs unless said otherwise.
//
// There are four ways behind this. Where the kernel stacks the store's directories, the step writes to the upper one of
// an overlay, and that becomes the layer by one rename. Where a mount program stacks them, or the driver has to, the
// layer is what has changed between two mounts. Where each layer is a whole tree (vfs) it is what has changed between
// two trees. A step that looks at nothing below needs no root file system with the last two: its layer is one
// directory. Layers may lie in additional image stores with all of them. One suite of tests holds for each.
//
// One room: all ways, and the writable layers of containers, share the opened directories of layers, the archives that
// become layers, and the check that nothing of what was seen has gone meanwhile.
package snapshot
