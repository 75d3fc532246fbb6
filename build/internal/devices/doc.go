// Package devices finds the devices that steps are given: device nodes of the host by their paths, and what CDI files
// (the Container Device Interface) say of a device by its name: nodes, variables, mounts, groups and hooks.
package devices
