package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/cooperbuild/cooper/network/policy"
)

// The types of records that name other ways to a server (RFC 9460).
const (
	typeSVCB  dnsmessage.Type = 64
	typeHTTPS dnsmessage.Type = 65
)

// errQuestion says that a message isn't a question as programs ask it.
var errQuestion = errors.New("a message to the name server that is no question")

// question reads a question of a step.
func question(message []byte) (h dnsmessage.Header, q dnsmessage.Question, err error) {
	var p dnsmessage.Parser
	if h, err = p.Start(message); err != nil {
		return h, q, err
	}
	all, err := p.AllQuestions()
	if err != nil {
		return h, q, err
	}
	if h.Response || len(all) != 1 {
		return h, q, errQuestion
	}
	return h, all[0], nil
}

// resolve answers a question of a step: itself what the egress policy doesn't let through, by exchange the rest. It
// keeps the addresses of what was asked for.
func (g *Gateway) resolve(message []byte, exchange func([]byte) ([]byte, error)) ([]byte, error) {
	h, q, err := question(message)
	if err != nil {
		if g.policy.Egress != nil {
			return nil, err
		}
		return exchange(message)
	}
	name := policy.CanonicalName(q.Name.String())
	switch {
	case g.policy.Egress == nil:
	case !g.policy.Egress.Asks(name):
		if g.isAskedFor(q, name) {
			g.ledger.refuse(policy.Contact{Protocol: policy.Lookup, Names: []string{name}})
		}
		return answer(h, q, dnsmessage.RCodeNameError)
	case q.Type == typeSVCB, q.Type == typeHTTPS:
		// They would have programs encrypt whom they ask for, and go to addresses that were not looked up.
		return answer(h, q, dnsmessage.RCodeSuccess)
	}
	reply, err := exchange(message)
	if err == nil {
		g.learn(reply, name)
	}
	return reply, err
}

// isAskedFor says whether a program wants the addresses of a name, and doesn't only try it with a domain in which this
// machine looks for names.
func (g *Gateway) isAskedFor(q dnsmessage.Question, name string) bool {
	return (q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeAAAA) && !isSearched(name)
}

// learn keeps the addresses in an answer.
func (g *Gateway) learn(reply []byte, name string) {
	var p dnsmessage.Parser
	if _, err := p.Start(reply); err != nil || p.SkipAllQuestions() != nil {
		return
	}
	for {
		h, err := p.AnswerHeader()
		if err != nil {
			return
		}
		switch h.Type {
		case dnsmessage.TypeA:
			r, err := p.AResource()
			if err != nil {
				return
			}
			g.ledger.named(netip.AddrFrom4(r.A), name)
		case dnsmessage.TypeAAAA:
			r, err := p.AAAAResource()
			if err != nil {
				return
			}
			g.ledger.named(netip.AddrFrom16(r.AAAA).Unmap(), name)
		default:
			if p.SkipAnswer() != nil {
				return
			}
		}
	}
}

// answer is an answer without records.
func answer(h dnsmessage.Header, q dnsmessage.Question, code dnsmessage.RCode) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: h.ID, Response: true, OpCode: h.OpCode,
		RecursionDesired: h.RecursionDesired, RecursionAvailable: true, RCode: code})
	if err := errors.Join(b.StartQuestions(), b.Question(q)); err != nil {
		return nil, err
	}
	return b.Finish()
}

// serveDNS answers the questions of a connection, in order (RFC 7766).
func (g *Gateway) serveDNS(in net.Conn) error {
	stop := context.AfterFunc(g.ctx, func() { drop(in) })
	defer stop()
	for {
		if err := in.SetDeadline(time.Now().Add(idle)); err != nil {
			return err
		}
		message, err := readFrame(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		reply, err := g.resolve(message, g.askByTCP)
		if err != nil {
			return err
		}
		if err := writeFrame(in, reply); err != nil {
			return err
		}
	}
}

// askByTCP asks one name server after the other until one has answered.
func (g *Gateway) askByTCP(message []byte) (reply []byte, err error) {
	for _, server := range nameServers() {
		if reply, err = g.askOneByTCP(server, message); err == nil {
			return reply, nil
		}
	}
	return nil, err
}

func (g *Gateway) askOneByTCP(server netip.AddrPort, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(g.ctx, dnsPatience)
	defer cancel()
	out, err := new(net.Dialer).DialContext(ctx, "tcp", server.String())
	if err != nil {
		return nil, err
	}
	defer drop(out)
	stop := context.AfterFunc(ctx, func() { drop(out) })
	defer stop()
	if err := writeFrame(out, message); err != nil {
		return nil, err
	}
	return readFrame(out)
}

// readFrame reads a message with its length before it.
func readFrame(from io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(from, message)
	return message, err
}

func writeFrame(to io.Writer, message []byte) error {
	_, err := to.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	return err
}
