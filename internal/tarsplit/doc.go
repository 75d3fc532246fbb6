// Package tarsplit writes the records by which containers/storage makes a layer's archive again from the layer's
// files: all bytes that are not the data of a file, and of each file the name, the size and a checksum.
package tarsplit
