// Package export writes a finished image to where the user asked for it: an OCI image layout, as a directory or an
// archive, an archive for "docker load", or just its files.
//
// What it promises:
//
//   - Nothing half-written. An archive has no name until it is whole, or a temporary one beside its destination, and is
//     synced before it
//     gets its own; a new layout directory likewise (package outfile). Into an existing layout, blobs go under
//     temporary names, are renamed when all of them are there, and then index.json is replaced. After an error or a
//     cancelled context nothing of ours remains.
//   - Nothing unchecked. The uncompressed stream of each layer must have its DiffID and size.
//   - Same image, same options: same bytes, on any number of cores.
//   - Bounded memory, whatever the size of the layers: at the default compression levels less than 30 MiB on up to 4
//     cores, and about
//     5 MiB more for each further core up to 8.
//
// Formats: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md, and for docker archives the same
// layout plus manifest.json, as "docker save" has written since Docker 25.
//
// One room: all forms share the packing of layers, their check against DiffIDs and the rename that ends a write.
package export
