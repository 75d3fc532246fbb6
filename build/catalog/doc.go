// Package catalog shows the images of a store to people and programs, gives them names, takes these away and removes
// images.
//
// The types have the fields that podman's JSON has, which docker's are mostly called by, too. A store that doesn't
// exist has no images, and isn't made.
package catalog
