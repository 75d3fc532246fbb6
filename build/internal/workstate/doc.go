// Package workstate is what is known of a working container besides its files: what it was made from, the config and
// the history of the image that will be made of it, and the settings of its commands. It is written as buildah writes
// it, so that either works with the containers of the other; what other versions of buildah know besides stays as it
// is.
package workstate
