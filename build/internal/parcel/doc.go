// Package parcel makes blobs of a directory, and a directory of blobs: how the content of a cache mount goes from one
// machine to another.
//
// A directory is read as a layer is, by package layer: owners as the container sees them, modes, extended attributes,
// hard and symbolic links. The bodies of the files are cut into chunks where their content says so, so that a file in
// which something was added has most of its chunks again. Chunks that the last parcel of the directory has are left
// where they are; the others are put together to packs. A listing names the chunks in their order, and has all of the
// archive that is not the body of a file. A parcel of which more than half is of no use any more is made anew.
//
// What another machine can't use, or should not see, is left out: sockets, devices, names by which a layer hides files,
// and files with one of the secrets of the build in them.
//
// # Trust
//
// A parcel is hostile. Each blob has the digest that the place of the parcel gives, is decompressed to as many bytes as
// the listing says and no more, and package unpack makes the directory of it: no name leads out of that, no link is
// followed, and nothing of it counts unless the whole archive has the digest that the listing promises. Times are whole
// seconds.
package parcel
