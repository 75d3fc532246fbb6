// Package policy says what steps reach by the gateway: every address but those that are the host's own business.
package policy

import (
	"net/netip"
	"slices"
)

// Step4 is the address of a step, which no packet outside has.
func Step4() netip.Addr { return netip.AddrFrom4([4]byte{10, 254, 253, 2}) }

// Step6 is the step's address in IPv6.
func Step6() netip.Addr { return netip.MustParseAddr("fd63:6f6f:7065:72::2") }

// Resolver is where the gateway answers DNS as the host's resolver does. This address and Host are link-local, where
// steps reach nothing else, so that they hide no machine.
func Resolver() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 1, 1}) }

// Host stands for the host: what its own address outside gives, and the ports of its loopback that are let through.
func Host() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 1, 2}) }

// Policy is what steps may reach. The zero value lets nothing of the host's loopback through.
type Policy struct {
	// Loopback are the ports of the host's loopback addresses that steps reach at Host.
	Loopback []uint16
	// Egress says whom outside steps may talk to; nil: everybody who is Reachable.
	Egress *Egress
	// Rate is how many bytes a step may send in a second, and how many it may receive; 0: as many as come.
	Rate int64
}

// LetsThrough says whether steps reach a port of the host's loopback addresses at Host.
func (p Policy) LetsThrough(port uint16) bool { return slices.Contains(p.Loopback, port) }

// Reachable says whether steps may reach an address. They may not reach loopback and link-local addresses, others that
// never leave a network, and those by which clouds tell machines who they are.
func Reachable(a netip.Addr) bool {
	a = plain(a)
	switch {
	case !a.IsValid(), a.IsLoopback(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast():
		return false
	case a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240): // "this host", and broadcast
		return false
	case a == Step4(), a == Step6():
		return false
	}
	return !slices.ContainsFunc(metadata(), func(p netip.Prefix) bool { return p.Contains(a) })
}

// metadata are the addresses of services that tell a machine its credentials and settings, besides the link-local ones.
func metadata() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("fd00:ec2::/32"),          // Amazon
		netip.MustParsePrefix("fd20:ce::254/128"),       // Google
		netip.MustParsePrefix("168.63.129.16/32"),       // Azure
		netip.MustParsePrefix("100.100.100.200/32"),     // Alibaba
		netip.MustParsePrefix("192.0.0.192/32"),         // Oracle
		netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), // Oracle
		netip.MustParsePrefix("fd00:42::42/128"),        // Scaleway
	}
}

// plain gives the IPv4 address that an IPv6 address stands for: a mapped one, and one that a translator (RFC 6052) or a
// tunnel (RFC 3056) would make of it.
func plain(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	b := a.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a):
		return embedded(a, [4]byte(b[12:16]))
	case netip.MustParsePrefix("2002::/16").Contains(a):
		return embedded(a, [4]byte(b[2:6]))
	}
	return a
}

// embedded gives the IPv4 address in a if steps may not reach that, else a itself.
func embedded(a netip.Addr, b [4]byte) netip.Addr {
	if in := netip.AddrFrom4(b); !Reachable(in) {
		return in
	}
	return a
}
