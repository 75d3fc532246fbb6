// Package archives saves images of a store to files and loads them from there: docker's archives, OCI layouts as
// archives or directories, and the directories of skopeo's dir: transport.
//
// An image that was saved and loaded has the same ID. It has the same digest, too, where its layers leave as the
// manifest in the store names them: uncompressed if it was built here, as they came if it was pulled.
package archives
