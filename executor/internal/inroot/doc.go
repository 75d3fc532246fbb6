// Package inroot finds, opens and makes files below a directory whose contents are hostile: the kernel resolves every
// path relative to the open directory, and mount points are made, and removed, without trace.
package inroot
