// Package partial makes the archive of a layer of what the layers of a store have of it, and of those parts of its blob
// that they lack. The blob is zstd:chunked: it has a table of where each file is in it, and the records (tar-split) of
// all that lies between the files.
//
// Nothing that the blob says is trusted, nor are checksums by which files are taken for the same: the archive counts
// only if it has the digest that the image's config gives the layer, and its reader sees to that. With what is wrong,
// the archive is another one or ends with an error, in bounded memory, and the blob is to be fetched whole.
package partial
