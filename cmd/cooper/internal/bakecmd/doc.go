// Package bakecmd has what cooper bake does besides building: it has bake files read by the program cooper-bake, hands
// what they say over to the process in the namespace, and runs the builds of the targets in their order.
package bakecmd
