// Package blobs knows layers as they leave the store: compressed.
//
// What a layer was compressed to is noted, and the same compression gives the same bytes. The blobs that outputs have
// needed are kept beside the remote sources, where they count as these do and go as these go; so are those that a build
// with such an output pulls. A layer of a base image leaves as the blob that it came as: one that is kept, or else one
// that its registry still has. That registry is asked with little patience, for all of this is to save time: whoever
// gets no blob here compresses the layer. Nothing is given that has not been verified from its beginning to its end.
package blobs
