package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// MaxEgressBytes is the size of a file of rules at most: it is handed to the gateway as an argument.
const MaxEgressBytes = 64 << 10

// Egress is a list of rules that says whom steps may talk to. The first rule that fits decides; whom none fits they may
// not talk to.
type Egress struct {
	Rules []Rule `json:"rules"`
}

// Rule is a line of an egress policy.
type Rule struct {
	Allow    bool   `json:"allow"`
	Protocol string `json:"protocol"`
	// Name is a DNS name in lower case, "*." and a domain for all names below it, or "*" for everybody. It is empty if
	// the rule is about addresses.
	Name      string       `json:"name,omitempty"`
	Addresses netip.Prefix `json:"addresses,omitzero"`
	// Ports are those that the rule is about; none: all.
	Ports []Ports `json:"ports,omitempty"`
}

// Ports are port numbers from First to Last.
type Ports struct{ First, Last uint16 }

// ParseEgress reads the text of an egress policy: lines "allow|deny [tcp|udp|icmp] WHO[:PORTS]" and comments that "#"
// begins. WHO is a name, *.DOMAIN, *, an address or a prefix, IPv6 in brackets if ports follow; PORTS are numbers and
// ranges with commas between. Errors begin with the line's number and a colon.
func ParseEgress(text string) (*Egress, error) {
	if len(text) > MaxEgressBytes {
		return nil, fmt.Errorf("1: it has more than %d bytes", MaxEgressBytes)
	}
	e := &Egress{Rules: []Rule{}}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		rule, err := parseRule(fields)
		if err != nil {
			return nil, fmt.Errorf("%d: %q %w", number, strings.TrimSpace(line), err)
		}
		e.Rules = append(e.Rules, rule)
	}
	return e, nil
}

var errForm = errors.New("must be allow or deny, then maybe tcp, udp or icmp, and a name, an address or * with its " +
	"ports, as in allow *.example.org:80,443")

func parseRule(fields []string) (r Rule, err error) {
	r.Protocol = TCP
	if fields[0] != "allow" && fields[0] != "deny" {
		return r, errForm
	}
	r.Allow = fields[0] == "allow"
	fields = fields[1:]
	if len(fields) > 0 && slices.Contains([]string{TCP, UDP, ICMP}, fields[0]) {
		r.Protocol, fields = fields[0], fields[1:]
	}
	if len(fields) != 1 {
		return r, errForm
	}
	who, ports := splitPorts(fields[0])
	if ports != "" && r.Protocol == ICMP {
		return r, errors.New("names a port, which ICMP has none of")
	}
	if err := r.setWho(who); err != nil {
		return r, err
	}
	for text := range strings.SplitSeq(ports, ",") {
		if ports == "" {
			break
		}
		first, last, ranged := strings.Cut(text, "-")
		if !ranged {
			last = first
		}
		from, err := parsePort(first)
		if err != nil {
			return r, err
		}
		to, err := parsePort(last)
		if err != nil {
			return r, err
		}
		if to < from {
			return r, fmt.Errorf("has the ports %s, of which the last is less than the first", text)
		}
		r.Ports = append(r.Ports, Ports{from, to})
	}
	return r, nil
}

// splitPorts parts WHO[:PORTS], where an IPv6 address without brackets has no ports.
func splitPorts(text string) (who, ports string) {
	if inner, rest, ok := strings.Cut(strings.TrimPrefix(text, "["), "]"); ok && strings.HasPrefix(text, "[") {
		return inner, strings.TrimPrefix(rest, ":")
	}
	if strings.Count(text, ":") > 1 {
		return text, ""
	}
	who, ports, _ = strings.Cut(text, ":")
	return who, ports
}

func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("has the port %q, which must be a number from 1 to 65535", text)
	}
	return uint16(n), nil
}

func (r *Rule) setWho(who string) error {
	if a, err := netip.ParseAddr(who); err == nil && a.Zone() == "" {
		a = a.Unmap()
		r.Addresses = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	if p, err := netip.ParsePrefix(who); err == nil {
		if r.Addresses = p.Masked(); r.Addresses != p {
			return fmt.Errorf("has bits beyond the length of its prefix: %s has none", r.Addresses)
		}
		return nil
	}
	name := CanonicalName(who)
	if name != "*" && !isName(strings.TrimPrefix(name, "*.")) {
		return fmt.Errorf("names %q, which is no address, no prefix and no DNS name; * stands alone or before the first dot, "+
			"and other letters than ASCII's are written as in xn--", who)
	}
	r.Name = name
	return nil
}

// CanonicalName is a DNS name as rules have it: in lower case, without the dot at its end.
func CanonicalName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// isName tells whether a text has the form of a DNS name (RFC 1123, and underscores as many have them).
func isName(name string) bool {
	const most = 253
	if len(name) > most {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// Allows says whether steps may talk to a contact: to one with several names if one of them allows it.
func (e *Egress) Allows(c Contact) bool {
	for _, r := range e.Rules {
		if r.Protocol == c.Protocol && r.hasPort(c.Port) && r.fits(c) {
			return r.Allow
		}
	}
	return false
}

// Asks says whether steps may look a name up: if they may talk to it at all.
func (e *Egress) Asks(name string) bool {
	for _, r := range e.Rules {
		switch {
		case !r.names(name):
		case r.Allow:
			return true
		case len(r.Ports) == 0 && r.Protocol == TCP:
			return false
		}
	}
	return false
}

func (r Rule) hasPort(port uint16) bool {
	return len(r.Ports) == 0 ||
		slices.ContainsFunc(r.Ports, func(p Ports) bool { return p.First <= port && port <= p.Last })
}

func (r Rule) fits(c Contact) bool {
	if r.Addresses.IsValid() {
		return r.Addresses.Contains(c.Address)
	}
	return r.Name == "*" || slices.ContainsFunc(c.Names, r.names)
}

func (r Rule) names(name string) bool {
	if r.Addresses.IsValid() {
		return false
	}
	domain, below := strings.CutPrefix(r.Name, "*")
	return r.Name == "*" || r.Name == name || below && strings.HasSuffix(name, domain)
}
