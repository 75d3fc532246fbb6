// Package push sends images to registries: to several names at once, one image or an index.
//
// A tag comes last: the registry has all that a manifest names before it gets the manifest, and all of the manifests
// before one of the tags is moved. Who is killed before that leaves blobs that nothing names, and whoever comes next
// finds them there.
//
// What needs not be sent is not: a blob that the repository has, one that another repository of its registry has and
// that can be mounted, and all of an image whose manifest the tag leads to already. Layers of a base image leave as the
// blobs that they came as. Others are compressed once: what came of it is noted beside the layer, and the same
// compression gives the same bytes.
package push
