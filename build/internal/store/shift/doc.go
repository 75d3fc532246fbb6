// Package shift knows the owners of the files in a store's layers, and has copies of layers with the owners on disk
// that the user namespace of a step makes of them, for kernels and file systems without ID-mapped mounts. It promises
// that such a copy is whole, is made once for all maps that agree on the layer's IDs, and stays as long as a running
// build may use it. Whoever opens the store sweeps what belongs to layers that are gone.
package shift
