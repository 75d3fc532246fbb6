// Package estargz compresses layers as eStargz: gzip of which each file, and each 4 MiB of a large one, begins a member
// of its own, with a table of where these are. Snapshotters that know the table mount such a layer at once and fetch
// files when they are read; to all others it is gzip.
//
// Readers want the table to be a file of the archive, so that the layer is another one than it was compressed from: it
// has another diff ID, and the image another config. The table comes after the archive's end, where whoever unpacks the
// layer doesn't look: the files are the same.
package estargz
