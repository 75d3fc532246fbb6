// Package imagebuilder holds the config of an OCI image and the pure functions that change it.
//
// An [Image] is a value: every With method returns a changed copy and leaves its receiver alone, so that one config can
// be the start of many stages at once. [ParseImage] reads the OCI config JSON and its Docker superset;
// [Image.MarshalConfig] writes the same superset, with map keys sorted, so that equal images give equal bytes.
//
// The package reads and writes no file and knows nothing of layers but their digests.
package imagebuilder
