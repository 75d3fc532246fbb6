// Package netns makes network namespaces that the caller may set up even where it lacks CAP_NET_ADMIN in its own user
// namespace, as root of a container does.
package netns
