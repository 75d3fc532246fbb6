package gateway

import (
	"encoding/json"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cooperbuild/cooper/network/policy"
)

// Limits of what is kept of one step.
const (
	maxNamed    = 4096 // addresses whose names are known
	maxNames    = 16   // names of one address
	maxTraffic  = 2000 // contacts that are counted apart; the counts of others are lost
	maxRefusals = 100  // refusals that are told
)

// Message is what the gateway tells of a step: a refusal when it happens, or in the end whom the step has talked to.
type Message struct {
	Refused *policy.Contact  `json:"refused,omitempty"`
	Traffic []policy.Traffic `json:"traffic,omitempty"`
}

// ledger is what the gateway knows of a step: names that it has looked up, and whom it has talked to.
type ledger struct {
	out *json.Encoder // gets the messages; used with mu held

	mu    sync.Mutex
	names map[netip.Addr][]string
	talks map[string]*talk
	order []*talk // talks in the order of their beginnings
	told  map[string]bool
}

// talk counts the traffic with one contact.
type talk struct {
	contact              policy.Contact
	connections, refused atomic.Int64
	sent, received       atomic.Int64
}

func newLedger(out io.Writer) *ledger {
	return &ledger{out: json.NewEncoder(out), names: map[netip.Addr][]string{}, talks: map[string]*talk{},
		told: map[string]bool{}}
}

// named keeps that a step has found an address by a name.
func (l *ledger) named(a netip.Addr, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, known := l.names[a]
	if !known && len(l.names) >= maxNamed || len(have) >= maxNames || slices.Contains(have, name) {
		return
	}
	l.names[a] = append(slices.Clip(have), name)
}

// contact is somebody with the names by which the step has found the address.
func (l *ledger) contact(protocol string, to netip.AddrPort) policy.Contact {
	c := policy.Contact{Protocol: protocol, Address: to.Addr().Unmap(), Port: to.Port()}
	if c.Address == policy.Host() {
		c.Names = []string{"host.docker.internal", "host.containers.internal"}
		return c
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Names = l.names[c.Address]
	return c
}

// talk gives the counts of a contact.
func (l *ledger) talk(c policy.Contact) *talk {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := c.Protocol + " " + strings.Join(c.Names, " ") + c.String()
	t := l.talks[key]
	if t == nil {
		t = &talk{contact: c}
		if len(l.talks) < maxTraffic {
			l.talks[key], l.order = t, append(l.order, t)
		}
	}
	return t
}

// refuse counts a refusal, and tells of the first of each contact.
func (l *ledger) refuse(c policy.Contact) {
	l.talk(c).refused.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := c.String(); !l.told[text] && len(l.told) < maxRefusals {
		l.told[text] = true
		_ = l.out.Encode(Message{Refused: &c}) // nobody listens if the build has ended
	}
}

// close tells whom the step has talked to.
func (l *ledger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]policy.Traffic, len(l.order))
	for i, t := range l.order {
		list[i] = policy.Traffic{
			Contact: t.contact, Connections: int(t.connections.Load()), Refused: int(t.refused.Load()),
			Sent: t.sent.Load(), Received: t.received.Load(),
		}
	}
	return l.out.Encode(Message{Traffic: list})
}
