// Package wire sends requests to registries: with patience, over connections that are trusted, and with the credentials
// that the registry asks for. What a request is for is no concern of its.
//
// Registries are hostile: credentials go to no other host, redirects and token servers lead to no address of this
// machine, and what they say is bounded and made printable.
package wire
