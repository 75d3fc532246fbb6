// Package registry finds, reads and pushes images in registries that speak the OCI distribution protocol. How a
// registry is reached is in the files that its package conf reads, who asks in those of credentials, and what comes is
// read by content: registries are hostile.
package registry
