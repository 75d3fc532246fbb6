// Package working has buildah's working containers: made from an image, changed by commands and copies, and committed
// as an image. They are those of containers/storage, so that buildah works with the ones made here and the other way
// round.
//
// A command and a copy are what they are in a build: the same sandbox, the same files, the same bytes in the layer.
// With Options.Cached each is a step with a key, which isn't done again while its inputs are the same; see
// Container.step.
package working
