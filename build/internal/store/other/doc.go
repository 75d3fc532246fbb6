// Package other finds the store that podman and buildah of some years ago keep beside the user's own, with another
// driver, and says how there comes to be one.
package other
