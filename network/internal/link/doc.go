// Package link makes network namespaces that one device leads out of, and the packet sockets at the other end of it.
//
// The device is one of a veth pair: that needs no file in /dev, unlike a tap device, and goes with its namespace, so
// that nobody waits for its end.
package link
