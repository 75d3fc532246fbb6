// Package network gives steps network namespaces of their own, with a way out that leads to no service that is the
// host's own business.
//
// Each step gets a fresh namespace with one device. What it sends there is read by a gateway, one process for a
// build, which makes the connections outside; see package gateway. That process is started when a step sends its first
// packet: a step that uses no network costs only its namespace, which is made while the step before it runs.
package network
