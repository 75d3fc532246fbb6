// Package unpack makes a directory of a layer's archive, as the storage driver overlay keeps it, and finds out on the
// way all that the store has to know of the layer: digest, size, owners and tar-split records. The archive is read
// once.
//
// What comes of it is what the storage library makes of the same archive. Archives that are out of the ordinary, by
// what they have or by how they have it, are not unpacked here: the error says [ErrStrange], and the caller takes the
// library's way, slower and with the library's errors.
//
// # Trust
//
// An archive is hostile, and the directory must be nobody else's. No link is followed in it: members lie where their
// names say, and parents are opened by the kernel beneath the directory, without links. Nothing counts before the
// stream has ended and has the right digest: until then the caller shows the directory to nobody.
//
// # Speed
//
// Three goroutines share the work on each archive: one reads and decompresses, one hashes, one takes the members apart.
// The bodies of small files go to [Writers], which many archives share. Hard links come after the files they name, and
// directories get their owners, modes and times at the end, when nothing is written to them any more.
package unpack
