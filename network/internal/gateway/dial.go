package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/cooperbuild/cooper/network/policy"
)

const (
	dnsPort      = 53
	dialPatience = 2 * time.Minute // how long a program itself would wait for a connection
)

// errRefused says that a step may not have a connection.
var errRefused = errors.New("steps may not reach this address")

// destination is where a step wants to.
func destination(id stack.TransportEndpointID) netip.AddrPort {
	return netip.AddrPortFrom(address(id.LocalAddress), id.LocalPort)
}

func address(a tcpip.Address) netip.Addr {
	if a.BitLen() == 32 {
		return netip.AddrFrom4(a.As4())
	}
	return netip.AddrFrom16(a.As16()).Unmap()
}

// drop closes what nothing more is expected of.
func drop(c io.Closer) { _ = c.Close() }

// dial connects to where a step wants to, network being "tcp" or "udp", if it may.
func (g *Gateway) dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, dialPatience)
	defer stop()
	err := errRefused
	for _, at := range g.places(to) {
		var c net.Conn
		if c, err = new(net.Dialer).DialContext(ctx, network, at.String()); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// places are the addresses to be tried, in order, for one of the step's; none if it may not go there.
func (g *Gateway) places(to netip.AddrPort) []netip.AddrPort {
	port := to.Port()
	switch a := to.Addr(); {
	case a == policy.Resolver() && port == dnsPort:
		return nameServers()
	case a == policy.Host() && g.policy.LetsThrough(port):
		return []netip.AddrPort{
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port), netip.AddrPortFrom(netip.IPv6Loopback(), port),
		}
	case a == policy.Host():
		if own := ownAddress(g.ctx); own.IsValid() && policy.Reachable(own) {
			return []netip.AddrPort{netip.AddrPortFrom(own, port)}
		}
		return nil
	case policy.Reachable(a):
		return []netip.AddrPort{to}
	}
	return nil
}

// ownAddress is the address that this machine has in the network outside; the zero value if there is none. Nothing is
// sent.
func ownAddress(ctx context.Context) netip.Addr {
	for _, far := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		c, err := new(net.Dialer).DialContext(ctx, "udp", far)
		if err != nil {
			continue
		}
		own, err := netip.ParseAddrPort(c.LocalAddr().String())
		_ = c.Close()
		if err == nil {
			return own.Addr()
		}
	}
	return netip.Addr{}
}

// HasIPv6 says whether this machine has a way to the world by IPv6. Nothing is sent.
func HasIPv6(ctx context.Context) bool {
	c, err := new(net.Dialer).DialContext(ctx, "udp6", "[2001:db8::1]:9")
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// nameServers are those of the host, as they are now.
func nameServers() []netip.AddrPort {
	text, _ := os.ReadFile("/etc/resolv.conf")
	return parseServers(string(text))
}

// isSearched says whether a name lies in one of the domains in which this machine looks for names.
func isSearched(name string) bool {
	text, _ := os.ReadFile("/etc/resolv.conf")
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "search" && fields[0] != "domain" {
			continue
		}
		for _, domain := range fields[1:] {
			if strings.HasSuffix(name, "."+policy.CanonicalName(domain)) {
				return true
			}
		}
	}
	return false
}

// parseServers gives the first three servers of a resolv.conf, as resolver(5) has it: this machine if there is none.
func parseServers(conf string) []netip.AddrPort {
	const most = 3
	var list []netip.AddrPort
	for line := range strings.Lines(conf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" || len(list) == most {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a, dnsPort))
		}
	}
	if len(list) == 0 {
		list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort))
	}
	return list
}
