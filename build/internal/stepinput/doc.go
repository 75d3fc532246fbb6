// Package stepinput opens what a step takes files from, be it a context of the host, a stage or an image, and names its
// content.
//
// A stage or an image is a root file system, which no longer changes and has a content ID. The files of a context are
// filtered by the ignore file, can change while they are looked at, and belong to nobody.
package stepinput
