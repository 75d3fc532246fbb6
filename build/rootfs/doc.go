// Package rootfs makes the root file systems of a build: chains of layers, each known at once as directories that the
// next step can be mounted on, and a little later as content digests and committed layers.
//
// A step says what it is found by in the cache and how it is done; Make takes its layer from there, or has it done in a
// directory that becomes the layer. Commits run behind the steps, in the order of the chain. All IDs are container IDs
// unless said otherwise; a namespace (NS) shows a root with the owners that a step in it sees.
package rootfs
