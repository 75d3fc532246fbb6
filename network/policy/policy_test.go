package policy_test

import (
	"net/netip"
	"testing"

	"github.com/cooperbuild/cooper/network/policy"
)

func TestStepsReachEveryAddressButTheHostsOwn(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"1.1.1.1": true, "10.0.0.1": true, "172.17.0.1": true, "192.168.1.10": true, "100.64.0.1": true,
		"2606:4700::1111": true, "fd00::2": true, "::ffff:1.1.1.1": true, "64:ff9b::101:101": true, "2002:101:101::1": true,
		"127.0.0.1": false, "127.8.8.8": false, "0.0.0.0": false, "0.1.2.3": false, "::1": false, "::": false,
		"169.254.169.254": false, "169.254.170.2": false, "fe80::1": false, "fe80::1%eth0": false,
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false,
		"2002:7f00:1::1": false, "2002:a9fe:a9fe::1": false,
		"224.0.0.251": false, "239.1.2.3": false, "255.255.255.255": false, "240.0.0.1": false, "ff02::1": false,
		"fd00:ec2::254": false, "fd20:ce::254": false, "168.63.129.16": false, "100.100.100.200": false,
		"10.254.253.2": false, "169.254.1.1": false, "169.254.1.2": false,
	} {
		if got := policy.Reachable(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
	if policy.Reachable(netip.Addr{}) {
		t.Error("no address at all is reachable")
	}
}

func TestOnlyPortsThatWereNamedAreLetThrough(t *testing.T) {
	t.Parallel()
	p := policy.Policy{Loopback: []uint16{3128}}
	if !p.LetsThrough(3128) || p.LetsThrough(3129) || (policy.Policy{}).LetsThrough(3128) {
		t.Error("wrong ports")
	}
}
