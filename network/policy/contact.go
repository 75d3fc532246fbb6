package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// The protocols of contacts. Lookup is a question to the host's name servers.
const (
	TCP    = "tcp"
	UDP    = "udp"
	ICMP   = "icmp"
	Lookup = "lookup"
)

// Contact is somebody outside whom a step wants to talk to.
type Contact struct {
	Protocol string `json:"protocol"`
	// Names are those by which the step has found the address, or the one that it asks for: of TLS, or of a lookup.
	Names   []string   `json:"names,omitempty"`
	Address netip.Addr `json:"address,omitzero"`
	Port    uint16     `json:"port,omitempty"`
}

// String names the contact, as in "packages.example (192.0.2.7) port 80".
func (c Contact) String() string {
	who := strings.Join(c.Names, ", ")
	if c.Protocol == Lookup {
		return "the name " + who
	}
	switch at := c.Address.String(); {
	case !c.Address.IsValid():
	case who == "":
		who = at
	default:
		who += " (" + at + ")"
	}
	if c.Port != 0 {
		who = fmt.Sprintf("%s port %d", who, c.Port)
	}
	if c.Protocol != TCP {
		who += " by " + strings.ToUpper(c.Protocol)
	}
	return who
}

// Line is the line of an egress policy that allows the contact.
func (c Contact) Line() string {
	line := "allow "
	if c.Protocol == UDP || c.Protocol == ICMP {
		line += c.Protocol + " "
	}
	switch {
	case len(c.Names) > 0:
		line += c.Names[0]
	case c.Address.Is6() && c.Port != 0:
		line += "[" + c.Address.String() + "]"
	default:
		line += c.Address.String()
	}
	if c.Port != 0 {
		line += fmt.Sprintf(":%d", c.Port)
	}
	return line
}

// Traffic is what came of a step's contacts with one address and port.
type Traffic struct {
	Contact
	// Connections counts those that were made, and the flows of UDP; Refused those that the policy refused.
	Connections int `json:"connections"`
	Refused     int `json:"refused,omitempty"`
	// Sent and Received are bytes of content, without those of packets.
	Sent     int64 `json:"sentBytes"`
	Received int64 `json:"receivedBytes"`
}
