// Package conf reads what podman, buildah and skopeo read of registries, mostly with their library, and means the same
// by it: registries.conf (containers-registries.conf(5)), certs.d (containers-certs.d(5)) and policy.json
// (containers-policy.json(5)). Signatures it can't check: a policy that demands one is an error. It sends no request.
package conf
