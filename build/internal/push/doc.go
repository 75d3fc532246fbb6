// Package push sends images to registries: to several names at once, one image or an index.
//
// A tag comes last: the registry has all that a manifest names before it gets the manifest, and all of the manifests
// before one of the tags is moved. A push that is killed before that leaves blobs that nothing names, and the next push
// finds them there.
//
// Three kinds of content are not sent: a blob that the repository has, one that another repository of its registry has
// and that can be mounted, and all of an image whose manifest the tag leads to already. Layers of a base image leave as
// the blobs that they came as. Others are compressed once: the digest and size of the blob are noted beside the layer,
// and the same compression gives the same bytes.
package push
