// Package sendimage pushes images that a store has to registries, and tries again what fails for a reason that may
// pass.
package sendimage
