// Package manifestlist makes and edits indexes of images in a store, as podman manifest does: podman sees them, and
// what podman has made is edited here.
package manifestlist
