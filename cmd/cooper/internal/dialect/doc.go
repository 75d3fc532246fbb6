// Package dialect knows what the command lines of docker, buildx, podman and buildah say: whose command line it is, the
// options that they take before the verb, each of their build flags and what becomes of it here. It reads no files and
// builds nothing.
package dialect
