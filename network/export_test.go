package network

// GatewayOf is the process of a network's gateway, 0 without one.
func GatewayOf(n *Network) int {
	n.starting.Lock()
	defer n.starting.Unlock()
	if n.process == nil {
		return 0
	}
	return n.process.Process.Pid
}
