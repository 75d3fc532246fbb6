// Package build builds one image: it wires the parser, the plan, the solver, the executor, the store and the outputs.
//
// Build is the entry. What a step has made is called its root: a chain of layers, known at once as directories that the
// next step can be mounted on, and a little later as content digests and committed layers. Commits run behind the
// steps, in the order of the chain; a build waits for all of them.
package build
