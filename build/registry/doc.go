// Package registry finds and reads images: in registries that speak the OCI distribution protocol, and in OCI layouts.
//
// It reads the configuration that podman, buildah and skopeo read, mostly with their library, and means the same by it:
// registries.conf (containers-registries.conf(5)), auth.json (containers-auth.json(5)), certs.d (containers-certs.d(5))
// and policy.json (containers-policy.json(5)). Signatures it can't check: a policy that demands one is an error.
//
// Registries and layouts are hostile. [ReadImage] verifies manifests and configs and bounds their size; what
// [Fetcher.Fetch] gives must be read through [Verify], which lets no wrong byte pass as the end of the content.
//
// One room: how a registry is found, trusted and spoken to is asked anew for every request of a transfer, in either
// direction.
package registry
