// Package registry finds and reads images: in registries that speak the OCI distribution protocol, and in OCI layouts.
// How a registry is reached is in the files that its package conf reads, and who asks in those of credentials.
//
// Registries and layouts are hostile. [ReadImage] verifies manifests and configs and bounds their size; what
// [Fetcher.Fetch] gives must be read through [Verify], which lets no wrong byte pass as the end of the content.
//
// One room: how a registry is found, trusted and spoken to is asked anew for every request of a transfer, in either
// direction.
package registry
