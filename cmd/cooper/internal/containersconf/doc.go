// Package containersconf reads what containers.conf says of builds: the file in which podman and buildah have defaults
// for their flags. It has the keys that buildah reads and that mean something here; all others are passed over, for the
// file is about running containers first.
package containersconf
