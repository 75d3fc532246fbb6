// Package blobs knows layers as they leave the store: compressed.
//
// The digest and size of the blob that a layer was compressed to are noted, and the same compression gives the same
// bytes. Blobs that outputs have needed, and those that a build with such an output pulls, are kept beside the remote
// sources: disk usage counts them with these, and prune removes them with these. A layer of a base image leaves as the
// blob that it came as: one that is kept, or else one that its registry still has. That registry is asked with little
// patience, for all of this is to save time: whoever gets no blob here compresses the layer. Every blob is verified
// from its beginning to its end before it is given out.
package blobs
