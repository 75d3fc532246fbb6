// Package reference reads and completes image names: docker.io/library/alpine:3.20, localhost:5000/app@sha256:...
//
// The grammar, the defaults and the errors are those of Docker, https://github.com/distribution/reference; the tests
// compare this package with that module. It is written by hand because the module compiles its regular expressions at
// every start of a program that links it: see docs/decisions/references.md. The package is pure.
package reference
