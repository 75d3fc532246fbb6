package network_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/cooperbuild/cooper/network"
	"github.com/cooperbuild/cooper/network/policy"
)

// resolver answers every question for an address with the machine's own, at the second of the machine's name servers.
func resolver(t *testing.T) {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.53:53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = udp.Close() })
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			var p dnsmessage.Parser
			h, err := p.Start(b[:n])
			q, qerr := p.Question()
			if err != nil || qerr != nil {
				continue
			}
			r := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: h.ID, Response: true})
			_, _ = r.StartQuestions(), r.Question(q)
			_ = r.StartAnswers()
			if q.Type == dnsmessage.TypeA {
				_ = r.AResource(dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
					dnsmessage.AResource{A: netip.MustParseAddr(own4).As4()})
			}
			reply, err := r.Finish()
			if err == nil {
				_, _ = udp.WriteTo(reply, from)
			}
		}
	}()
}

// lookUp asks the step's name server for a name, and gives the answer's code and how many records it has.
func lookUp(t *testing.T, ns *network.Namespace, name string, kind dnsmessage.Type) (code dnsmessage.RCode,
	records int) {
	t.Helper()
	c, err := dial(t, ns, "udp", at(policy.Resolver().String(), 53))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 7, RecursionDesired: true})
	_ = b.StartQuestions()
	_ = b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET})
	question, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write(question)
	got := make([]byte, 512)
	n, err := c.Read(got)
	var m dnsmessage.Message
	if err != nil || m.Unpack(got[:n]) != nil || m.ID != 7 {
		t.Fatalf("%s: %v, %q", name, err, got[:n])
	}
	return m.RCode, len(m.Answers)
}

// refusals are the lines that would allow what was refused.
type refusals struct {
	mu    sync.Mutex
	lines []string
}

func (r *refusals) add(c policy.Contact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, c.Line())
}

func openWith(t *testing.T, rules string) (*network.Namespace, *refusals) {
	t.Helper()
	e, err := policy.ParseEgress(rules)
	if err != nil {
		t.Fatal(err)
	}
	n := network.New(policy.Policy{Egress: e})
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	told := new(refusals)
	return takeTelling(t, n, told.add), told
}

func TestAStepTalksToWhomThePolicyNames(t *testing.T) {
	resolver(t)
	port := serve(t, own4, echo)
	other := serve(t, own4, echo)
	ns, told := openWith(t, "allow good.example:"+at("", port)[1:]+"\nallow *.cdn.example\n")

	connects := func(port uint16) bool {
		c, err := dial(t, ns, "tcp4", at(own4, port))
		if err != nil {
			return false
		}
		_, _ = c.Write([]byte("x"))
		_, err = io.ReadFull(c, make([]byte, 1))
		return err == nil
	}
	if connects(port) {
		t.Error("an address that no name was asked for is reached")
	}
	for name, want := range map[string]dnsmessage.RCode{
		"good.example.": dnsmessage.RCodeSuccess, "GOOD.example.": dnsmessage.RCodeSuccess,
		"bad.example.": dnsmessage.RCodeNameError, "secret-data.bad.example.": dnsmessage.RCodeNameError,
	} {
		code, records := lookUp(t, ns, name, dnsmessage.TypeA)
		if code != want || (records > 0) != (want == dnsmessage.RCodeSuccess) {
			t.Errorf("%s: %v, %d records", name, code, records)
		}
	}
	if code, records := lookUp(t, ns, "good.example.", 65); code != dnsmessage.RCodeSuccess || records > 0 {
		t.Errorf("a question for HTTPS records: %v, %d", code, records)
	}
	if !connects(port) {
		t.Error("the one that the policy names is out of reach")
	}
	if connects(other) {
		t.Error("another port of it is reached")
	}
	if c, err := dial(t, ns, "udp4", at(own4, port)); err == nil {
		_, _ = c.Write([]byte("x"))
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("UDP is let through by a rule for TCP")
		}
	}
	if _, err := ping(t, ns, own4); err == nil {
		t.Error("a ping is let through by a rule for TCP")
	}
	leave(t, ns)
	slices.Sort(told.lines)
	want := []string{
		"allow 192.0.2.77:" + at("", port)[1:], "allow bad.example", "allow good.example:" + at("", other)[1:],
		"allow icmp good.example", "allow secret-data.bad.example", "allow udp good.example:" + at("", port)[1:],
	}
	slices.Sort(want)
	if !slices.Equal(told.lines, want) {
		t.Errorf("told: %q\nwant: %q", told.lines, want)
	}
	traffic := ns.Traffic()
	i := slices.IndexFunc(traffic, func(t policy.Traffic) bool { return t.Connections > 0 })
	if i < 0 || traffic[i].Sent != 1 || traffic[i].Received != 1 || traffic[i].Port != port ||
		!slices.Equal(traffic[i].Names, []string{"good.example"}) {
		t.Errorf("the traffic is %+v", traffic)
	}
}

// TestTheNameInTLSIsThatOfTheAddress: many names share the addresses of large hosters.
func TestTheNameInTLSIsThatOfTheAddress(t *testing.T) {
	resolver(t)
	got := make(chan int, 10)
	port := serve(t, own4, func(c net.Conn) {
		n, _ := c.Read(make([]byte, 4096))
		got <- n
	})
	ns, told := openWith(t, "allow good.example\nallow *.cdn.example\n")
	for _, name := range []string{"good.example.", "a.cdn.example."} {
		lookUp(t, ns, name, dnsmessage.TypeA)
	}
	for name, want := range map[string]bool{
		"good.example": true, "a.cdn.example": true, "bad.example": false, "b.cdn.example": false,
	} {
		c, err := dial(t, ns, "tcp4", at(own4, port))
		if err != nil {
			t.Fatal(err)
		}
		_ = tls.Client(c, &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}).HandshakeContext(t.Context())
		if n := <-got; (n > 0) != want {
			t.Errorf("%s: the server got %d bytes", name, n)
		}
	}
	leave(t, ns)
	if text := strings.Join(told.lines, "\n"); len(told.lines) != 2 || !strings.Contains(text, "allow bad.example:") ||
		!strings.Contains(text, "allow b.cdn.example:") {
		t.Errorf("told: %q", told.lines)
	}
}

func TestAnAddressThatThePolicyNamesNeedsNoName(t *testing.T) {
	port := serve(t, own4, echo)
	ns, _ := openWith(t, "deny 192.0.2.78\nallow 192.0.2.0/24\nallow icmp *")
	if _, err := dial(t, ns, "tcp4", at(own4, port)); err != nil {
		t.Error(err)
	}
	if _, err := ping(t, ns, own4); err != nil {
		t.Error(err)
	}
}

// TestAStepSendsNoMoreThanItsRate: what is above the rate waits, and nothing is lost.
func TestAStepSendsNoMoreThanItsRate(t *testing.T) {
	const bytesASecond, size = 1 << 20, 1 << 19
	n := network.New(policy.Policy{Rate: bytesASecond})
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	ns := take(t, n)
	port := serve(t, own4, echo)
	c, err := dial(t, ns, "tcp", at(own4, port))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	go func() {
		_, _ = c.Write(make([]byte, size))
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.Copy(io.Discard, c)
	// A tenth of a second's bytes go at once, in each direction.
	if took := time.Since(begin); err != nil || got != size || took < 300*time.Millisecond {
		t.Errorf("%d bytes came back in %s: %v", got, took, err)
	}
}
