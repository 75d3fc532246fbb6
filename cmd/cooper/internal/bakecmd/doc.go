// Package bakecmd is cooper bake: it has bake files read by the program cooper-bake, hands what they say over to the
// process in the namespace, and builds the targets in their order, in one session.
package bakecmd
