package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/network/internal/gateway"
	"github.com/cooperbuild/cooper/network/internal/link"
	"github.com/cooperbuild/cooper/network/policy"
)

// ErrImpossible is matched by errors that say that this machine gives no network namespaces.
var ErrImpossible = errors.New("no network of its own can be made for a step")

// maxUsed is how many namespaces of steps that have ended are kept, to be let go together: the kernel holds a lock for
// some 20 ms, whether it ends one namespace or many, and the next one isn't made before.
const maxUsed = 32

// Network makes the namespaces of one build. It is safe for concurrent use. Nothing is made before the first Take or
// Prepare.
type Network struct {
	policy policy.Policy
	making sync.Mutex // held while a link is made
	hub    *link.Hub  // made with the first link
	ipv6   bool       // whether this machine has a way out by IPv6; set with hub

	mu     sync.Mutex
	ahead  chan made // the link that is being made or waits for the next step; nil: none
	used   []*link.Link
	closed bool
	// closing are the sockets of links that are being closed.
	closing sync.WaitGroup
	outside
}

// made is what came of making a link.
type made struct {
	link *link.Link
	err  error
}

// New is the network of a build whose steps may reach what p says.
func New(p policy.Policy) *Network { return &Network{policy: p, outside: outside{policy: p}} }

// Prepare begins to make the namespace of the next step.
func (n *Network) Prepare(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.prepare(ctx)
}

// prepare does the work of Prepare; mu is held.
func (n *Network) prepare(ctx context.Context) {
	if n.ahead != nil || n.closed {
		return
	}
	ready := make(chan made, 1)
	n.ahead = ready
	go func() {
		var m made
		if err := guard.Call(func() error { m.link, m.err = n.make(ctx); return nil }); err != nil {
			m = made{err: err}
		}
		ready <- m
	}()
}

// make makes a link.
func (n *Network) make(ctx context.Context) (*link.Link, error) {
	n.making.Lock()
	defer n.making.Unlock()
	if n.hub == nil {
		hub, err := link.NewHub()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrImpossible, err)
		}
		n.hub, n.ipv6 = hub, gateway.HasIPv6(ctx)
	}
	addresses := []netip.Addr{policy.Step4()}
	if n.ipv6 {
		addresses = append(addresses, policy.Step6())
	}
	l, err := n.hub.Make(addresses...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImpossible, err)
	}
	return l, nil
}

// Namespace is the network namespace of one step.
type Namespace struct {
	// File is the namespace, to be joined with setns(2).
	File *os.File
	end  func() error

	mu      sync.Mutex
	traffic []policy.Traffic
}

// Traffic is whom the step has talked to, in the order of the first time. It is known when Close has returned.
func (n *Namespace) Traffic() []policy.Traffic {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.traffic
}

// Close ends the way out, and lets go of the namespace, once. Its error says why there was no way out.
func (n *Namespace) Close() error { return n.end() }

// Take gives a namespace in which nobody was before, and begins to make the next one. The caller closes it when the
// step has ended. Until then refused is called, by another goroutine, for each contact that the egress policy refuses
// first. An error that matches ErrImpossible says why this machine gives none.
func (n *Network) Take(ctx context.Context, refused func(policy.Contact)) (*Namespace, error) {
	n.mu.Lock()
	n.prepare(ctx)
	ready := n.ahead
	n.ahead = nil
	n.mu.Unlock()
	if ready == nil {
		return nil, errors.New("the network of the build has ended")
	}
	m := <-ready
	if m.err != nil {
		return nil, m.err
	}
	n.Prepare(ctx)
	ns := &Namespace{File: m.link.NS}
	stop, err := n.watch(ctx, m.link.Socket, func(m gateway.Message) {
		if m.Refused != nil {
			refused(*m.Refused)
			return
		}
		ns.mu.Lock()
		defer ns.mu.Unlock()
		ns.traffic = m.Traffic
	})
	if err != nil {
		n.release(m.link)
		return nil, err
	}
	ns.end = sync.OnceValue(func() error {
		err := stop()
		n.release(m.link)
		if err != nil {
			return fmt.Errorf("connect a step to the network: %w", err)
		}
		return nil
	})
	return ns, nil
}

// release keeps a link whose step has ended, or lets go of many at once. The socket goes at once, beside the next step.
func (n *Network) release(l *link.Link) {
	n.closing.Go(func() { _ = guard.Call(func() error { l.CloseSocket(); return nil }) })
	n.mu.Lock()
	defer n.mu.Unlock()
	n.used = append(n.used, l)
	if len(n.used) >= maxUsed || n.closed {
		n.drop()
	}
}

// drop lets go of the used links; mu is held.
func (n *Network) drop() {
	for _, l := range n.used {
		_ = l.NS.Close() // its socket goes by itself
	}
	n.used = nil
}

// Close ends the gateway and lets go of all namespaces. No step may be using one.
func (n *Network) Close() error {
	n.mu.Lock()
	ahead := n.ahead
	n.ahead, n.closed = nil, true
	n.drop()
	n.mu.Unlock()
	if ahead != nil {
		if m := <-ahead; m.link != nil {
			m.link.Close()
		}
	}
	n.closing.Wait()
	var err error
	if n.hub != nil {
		err = n.hub.Close()
	}
	return errors.Join(err, n.stop())
}

// Available says why this machine gives no network namespaces, or nil.
func Available(ctx context.Context) error {
	n := New(policy.Policy{})
	l, err := n.make(ctx)
	if l != nil {
		l.Close()
	}
	return errors.Join(err, n.Close())
}

// OpenNamespace opens the network namespace at a path. The caller closes it.
func OpenNamespace(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		_ = file.Close()
		return nil, fmt.Errorf("%s is no network namespace", path)
	}
	return file, nil
}

// readable waits until the step has sent a frame, or done is closed.
func readable(socket *os.File) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	seen := false
	return raw.Read(func(fd uintptr) bool {
		one := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(one, 0)
		seen = seen || n > 0
		return seen
	})
}
