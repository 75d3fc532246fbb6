// Package bases finds the image that a FROM, or a COPY --from, names: in the store, in a registry, in an OCI layout, or
// by another build.
package bases
