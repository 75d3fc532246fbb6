// Package rootfs makes the root file systems of a build: chains of layers, each known at once as directories that the
// next step can be mounted on, and a little later as content digests and committed layers.
//
// A step gives its cache keys and its work; Make takes the step's layer from the cache, or has the work done in a
// directory that becomes the layer. Commits run behind the steps, in the order of the chain. All IDs are container IDs
// unless a comment says otherwise; a namespace (NS) shows a root with the owners that a step in it sees.
package rootfs
