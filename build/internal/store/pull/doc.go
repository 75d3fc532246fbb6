// Package pull brings images into a store: from a registry, a layout or any other source.
//
// What is in the store then is what podman pull would have put there, layer for layer and item for item. What a source
// says is verified before it counts: digests, sizes, where members of archives lead, and whether the user has all IDs.
// If it fails, the store is as it was.
//
// Layers that the storage library can't unpack as their archives say are made of another archive with the same result:
// see oddLayer.
package pull
