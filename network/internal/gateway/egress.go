package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/cooperbuild/cooper/network/policy"
)

// allowed says whether the egress policy lets a step talk to a contact. The host's name servers and ports of its
// loopback are let through by other settings. It tells of a refusal.
func (g *Gateway) allowed(c policy.Contact) bool {
	switch {
	case g.policy.Egress == nil, c.Address == policy.Resolver(),
		c.Address == policy.Host() && c.Protocol != policy.ICMP && g.policy.LetsThrough(c.Port),
		g.policy.Egress.Allows(c):
		return true
	}
	g.ledger.refuse(c)
	return false
}

// errOtherName says that a step has asked for somebody else than whose address it has looked up.
var errOtherName = errors.New("a name in TLS that the policy doesn't allow there")

// checkName says whether a step may ask for a name by TLS at an address that it has found by names: the address alone
// says too little, since many names share those of large hosters.
func (g *Gateway) checkName(c policy.Contact, name string) error {
	name = policy.CanonicalName(name)
	if g.policy.Egress == nil || name == "" || len(c.Names) == 0 {
		return nil
	}
	byName, byAddress := c, c
	byName.Names, byAddress.Names = []string{name}, nil
	if slices.Contains(c.Names, name) && g.policy.Egress.Allows(byName) || g.policy.Egress.Allows(byAddress) {
		return nil
	}
	g.ledger.refuse(byName)
	return errOtherName
}

// greeted is the step's end of a connection, whose first bytes are looked at before they are handed on.
type greeted struct {
	halfConn
	check func(name string) error
	ctx   context.Context //nolint:containedctx // Read has no other: it ends with the step

	once sync.Once
	rest io.Reader
	err  error
}

// recordHandshake is the first byte of a TLS connection (RFC 8446, section 5.1).
const recordHandshake = 0x16

// maxHello is more than any ClientHello has.
const maxHello = 128 << 10

// Read reads what the step sends, from its beginning on.
func (c *greeted) Read(p []byte) (int, error) {
	c.once.Do(func() {
		var first [1]byte
		n, err := c.halfConn.Read(first[:])
		c.rest = io.MultiReader(bytes.NewReader(first[:n]), c.halfConn)
		if err != nil || n == 0 || first[0] != recordHandshake {
			c.err = err
			return
		}
		name, read, err := serverName(c.ctx, c.rest)
		c.rest = io.MultiReader(bytes.NewReader(read), c.halfConn)
		if c.err = err; err == nil {
			c.err = c.check(name)
		}
	})
	if c.err != nil {
		return 0, c.err
	}
	return c.rest.Read(p)
}

// errHello ends a handshake that is read and not answered.
var errHello = errors.New("enough was read")

// serverName reads the name that a client asks for in its first message; "" if it names nobody. It gives what was read.
func serverName(ctx context.Context, from io.Reader) (name string, read []byte, err error) {
	var buf bytes.Buffer
	seen := false
	conn := hello{Reader: io.TeeReader(io.LimitReader(from, maxHello), &buf)}
	err = tls.Server(conn, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			name, seen = h.ServerName, true
			return nil, errHello
		},
	}).HandshakeContext(ctx)
	if seen {
		err = nil
	}
	return name, buf.Bytes(), err
}

// hello is a connection from which only a ClientHello is read.
type hello struct{ io.Reader }

func (hello) Write(p []byte) (int, error)      { return len(p), nil }
func (hello) Close() error                     { return nil }
func (hello) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (hello) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (hello) SetDeadline(time.Time) error      { return nil }
func (hello) SetReadDeadline(time.Time) error  { return nil }
func (hello) SetWriteDeadline(time.Time) error { return nil }

// greet has the first bytes of a connection looked at, if the policy says more than its address does.
func (g *Gateway) greet(in halfConn, c policy.Contact) halfConn {
	if g.policy.Egress == nil || c.Protocol != policy.TCP || len(c.Names) == 0 || c.Address == policy.Host() {
		return in
	}
	return &greeted{halfConn: in, ctx: g.ctx, check: func(name string) error { return g.checkName(c, name) }}
}
