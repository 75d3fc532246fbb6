// Package steproot makes the root file system of a step: a mount of its layers or its directory, with the mount points
// that the image lacks, and without trace of them when the step has ended.
package steproot
