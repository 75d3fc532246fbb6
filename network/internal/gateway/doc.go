// Package gateway is the outside of steps: it takes the frames of a link for what they are, connections of programs,
// and makes these connections itself, as the ordinary process that it is. No packet of a step leaves the machine.
//
// A TCP/IP stack in this process, gVisor's, ends each connection of the step. Whether it is made on the other side
// says package policy.
package gateway
