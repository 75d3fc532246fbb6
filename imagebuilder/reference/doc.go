// Package reference reads and completes image names: docker.io/library/alpine:3.20, localhost:5000/app@sha256:...
//
// The grammar, the defaults and the errors are those of Docker, https://github.com/distribution/reference; the tests
// hold this package against it. It is written by hand because that one's regular expressions are compiled at every
// start of a program that links it: see docs/decisions/references.md. The package is pure.
package reference
