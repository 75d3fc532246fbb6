// Package container makes the container of a step ready, all but its namespaces: the root with its mount points, the
// mounts, /dev and name resolution files, sockets, and who the step is. Back ends and their scripts build on it; it
// knows none of them.
//
// One room: root, mounts, devices and names are parts of one memory file system, which is made and given away as one.
package container
