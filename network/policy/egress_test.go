package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/network/policy"
)

func TestTheFirstRuleThatFitsDecides(t *testing.T) {
	t.Parallel()
	e, err := policy.ParseEgress(`
# comments and empty lines
deny  telemetry.example.org      # whatever the next line says
allow *.example.org:443,8000-8010
allow Example.NET.
deny  10.0.0.13
allow 10.0.0.0/8:5432
allow [2001:db8::/32]:22
allow 2001:db8:1::1
allow udp time.example.com:123
allow icmp *
`)
	if err != nil {
		t.Fatal(err)
	}
	const tcp, udp, icmp = policy.TCP, policy.UDP, policy.ICMP
	for _, try := range []struct {
		protocol, names, address string
		port                     uint16
		want                     bool
	}{
		{tcp, "a.example.org", "192.0.2.1", 443, true},
		{tcp, "a.b.example.org", "192.0.2.1", 8005, true},
		{tcp, "a.example.org", "192.0.2.1", 80, false},
		{tcp, "example.org", "192.0.2.1", 443, false},
		{tcp, "badexample.org", "192.0.2.1", 443, false},
		{tcp, "telemetry.example.org", "192.0.2.1", 443, false},
		{tcp, "example.net", "192.0.2.1", 1, true},
		{tcp, "other.com example.net", "192.0.2.1", 1, true},
		{tcp, "", "192.0.2.1", 443, false},
		{tcp, "", "10.1.2.3", 5432, true},
		{tcp, "", "10.1.2.3", 5433, false},
		{tcp, "", "10.0.0.13", 5432, false},
		{tcp, "", "2001:db8:5::1", 22, true},
		{tcp, "", "2001:db8:5::1", 23, false},
		{tcp, "", "2001:db8:1::1", 23, true},
		{udp, "time.example.com", "192.0.2.1", 123, true},
		{tcp, "time.example.com", "192.0.2.1", 123, false},
		{udp, "a.example.org", "192.0.2.1", 443, false},
		{icmp, "", "192.0.2.1", 0, true},
	} {
		c := policy.Contact{Protocol: try.protocol, Names: strings.Fields(try.names), Port: try.port,
			Address: netip.MustParseAddr(try.address)}
		if got := e.Allows(c); got != try.want {
			t.Errorf("%s: %t", c, got)
		}
	}
	for name, want := range map[string]bool{
		"a.example.org": true, "telemetry.example.org": false, "example.net": true, "time.example.com": true,
		"x.net": true, "example.org": true, // by "allow icmp *"
	} {
		if got := e.Asks(name); got != want {
			t.Errorf("look up %s: %t", name, got)
		}
	}
}

func TestWrongRulesAreNamedByTheirLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"allow a.example\n\npermit b.example": `3: "permit b.example" must be allow or deny`,
		"allow":                               `1: "allow" must be`,
		"allow a b":                           "must be",
		"allow tcp":                           "must be",
		"allow a.example:0":                   `the port "0"`,
		"allow a.example:65536":               `the port "65536"`,
		"allow a.example:80-":                 `the port ""`,
		"allow a.example:90-80":               "the last is less",
		"allow icmp a.example:1":              "ICMP",
		"allow 10.0.0.1/8":                    "10.0.0.0/8",
		"allow bü.example":                    "xn--",
		"allow a.*.example":                   "stands alone",
		"allow *example":                      "stands alone",
		"allow -a.example":                    "no DNS name",
		"allow [::1":                          "no DNS name",
		"allow [::1]x":                        "the port",
		"allow http://a.example":              "the port",
		"allow fe80::1%eth0":                  "no DNS name",
		strings.Repeat("#", policy.MaxEgressBytes+1): "bytes",
	} {
		_, err := policy.ParseEgress(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

// TestTheLineThatWouldAllowDoes for every kind of contact.
func TestTheLineThatWouldAllowDoes(t *testing.T) {
	t.Parallel()
	for _, c := range []policy.Contact{
		{Protocol: policy.TCP, Names: []string{"a.example"}, Address: netip.MustParseAddr("192.0.2.1"), Port: 443},
		{Protocol: policy.UDP, Address: netip.MustParseAddr("192.0.2.1"), Port: 53},
		{Protocol: policy.TCP, Address: netip.MustParseAddr("2001:db8::1"), Port: 22},
		{Protocol: policy.ICMP, Address: netip.MustParseAddr("2001:db8::1")},
	} {
		e, err := policy.ParseEgress(c.Line())
		if err != nil || !e.Allows(c) {
			t.Errorf("%q: %v", c.Line(), err)
		}
	}
	c := policy.Contact{Protocol: policy.Lookup, Names: []string{"a.example"}}
	if e, err := policy.ParseEgress(c.Line()); err != nil || !e.Asks("a.example") {
		t.Errorf("%q: %v", c.Line(), err)
	}
}

func FuzzParseEgress(f *testing.F) {
	for _, text := range []string{"allow *", "deny tcp [::/0]:1-2,3 # x", "allow udp a.b:53\nallow 1.2.3.4"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := policy.ParseEgress(text)
		if err != nil {
			return
		}
		e.Asks("a.example")
		e.Allows(policy.Contact{Protocol: policy.TCP, Port: 1, Address: policy.Host()})
	})
}
