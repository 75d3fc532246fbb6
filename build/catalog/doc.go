// Package catalog lists the images of a store for people and programs, adds and removes names of images, and removes
// images.
//
// The types have the fields that podman's JSON has, most of which docker names alike. A store that doesn't
// exist has no images, and isn't made.
package catalog
