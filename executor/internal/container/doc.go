// Package container makes the container of a step ready, all but its namespaces: the root with its mount points, the
// mounts, /dev and name resolution files, sockets, and who the step is. Back ends and their scripts build on it; it
// knows none of them.
package container
