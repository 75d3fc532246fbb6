package wire

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
)

// Outward makes a transport for addresses that a registry at host names. Its connections are closed after use.
func (p Pace) Outward(host string, insecure bool) (http.RoundTripper, error) {
	proxied, err := NewTransport("", insecure)
	if err != nil {
		return nil, err
	}
	proxied.DisableKeepAlives = true
	direct := proxied.Clone()
	direct.Proxy = nil
	if !isLocal(host) {
		direct.DialContext = (&net.Dialer{Timeout: dialTimeout, Control: refuseOwn}).DialContext
	}
	var next http.RoundTripper = split{direct, proxied}
	if !insecure {
		next = Secure(next)
	}
	return p.Patient(next), nil
}

// split sends requests that go through a proxy by the transport proxied and all others by direct, which refuses the
// machine's own addresses: a proxy may be at one of them.
type split struct{ direct, proxied http.RoundTripper }

func (s split) RoundTrip(req *http.Request) (*http.Response, error) {
	proxy, err := http.ProxyFromEnvironment(req)
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		return s.direct.RoundTrip(req)
	}
	return s.proxied.RoundTrip(req)
}

// refuseOwn refuses to connect to the machine's own addresses, however their names were resolved.
func refuseOwn(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if isOwn(at.Addr()) {
		return fmt.Errorf("the registry leads to %s, on this machine or its link", at.Addr())
	}
	return nil
}

// isOwn tells whether an address is one of this machine or its link, where services may be that trust this machine
// only.
func isOwn(addr netip.Addr) bool {
	addr = addr.Unmap()
	return addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified()
}
