// Package container makes the container of a step ready, all but its namespaces: it has the root, the memory file
// system and the mounts made, knows the kernel's file systems and what of them is hidden, and who the step is. Back
// ends and their scripts build on it; it knows none of them.
package container
