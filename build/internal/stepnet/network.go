package stepnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/network"
	"github.com/cooperbuild/cooper/network/policy"
)

// The kinds of networks.
const (
	Host    = "host"    // cooper's own
	None    = "none"    // a loopback device
	Private = "private" // one of the step's own, with a way out
	Named   = "ns"      // the namespace that Options.NetworkNS names
)

// Default is the kind for which nobody asks for another.
const Default = Private

// Options are the options of a build about the networks of its steps.
type Options struct {
	// Network is the network of steps that don't say: one of the kinds; empty is Default.
	Network string
	// HostIfImpossible gives steps the host's network in place of a private one where the machine can make none.
	HostIfImpossible bool
	// HostNetwork allows RUN --network=host.
	HostNetwork bool
	// NetworkNS is the path of the network namespace that SetNetwork was given.
	NetworkNS string
	// HostLoopback are the ports of the host's loopback addresses that steps with a private network reach.
	HostLoopback []uint16
	// Egress says whom steps may talk to, and EgressFile is the file that it comes from; nil: everybody who can be
	// reached. With it steps have a private network or none.
	Egress     *policy.Egress
	EgressFile string
	// NetworkRate is how many bytes each step with a private network may send in a second, and receive; 0: any number.
	NetworkRate int64
}

// SetNetwork sets what --network says, if it isn't default.
func (o *Options) SetNetwork(text string) error {
	kind, rest, more := strings.Cut(text, ":")
	switch {
	case text == Host:
		o.Network, o.HostNetwork = Host, true
	case text == None:
		o.Network = None
	case text == Private, text == "bridge": // docker's and podman's name for one with a way out
		o.Network = Private
	case kind == Named && rest != "":
		path, err := filepath.Abs(rest)
		if err != nil {
			return fmt.Errorf("--network=%s: %w", text, err)
		}
		o.Network, o.NetworkNS = Named, path
	case kind == "container" && more:
		return fmt.Errorf("--network=%s: cooper knows no containers: ns:/proc/PID/ns/net is the network of a process", text)
	case kind == "slirp4netns", kind == "pasta":
		return fmt.Errorf("--network=%s: cooper starts no %s: private gives steps a network with a way out", text, kind)
	default:
		return fmt.Errorf("--network=%s: must be default, private, none, host or ns:PATH", text)
	}
	return nil
}

// SetHostLoopback sets the ports that --host-loopback names, which is for private networks.
func (o *Options) SetHostLoopback(ports []string) error {
	if len(ports) > 0 && o.Network != Private {
		return errors.New("--host-loopback is for steps in a private network: those in another reach what that has")
	}
	for _, text := range ports {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return fmt.Errorf("--host-loopback=%s: must be a port, from 1 to 65535", text)
		}
		o.HostLoopback = append(o.HostLoopback, uint16(port))
	}
	return nil
}

// SetEgress reads the file of --egress-policy, which is for private networks.
func (o *Options) SetEgress(path string) error {
	if o.Network != Private && o.Network != None {
		return fmt.Errorf("--egress-policy: steps have the network %s, which cooper has no say in: --network=private gives "+
			"them one of their own", o.Network)
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("--egress-policy: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, policy.MaxEgressBytes+1))
	if err != nil {
		return fmt.Errorf("--egress-policy: %w", err)
	}
	if o.Egress, err = policy.ParseEgress(string(text)); err != nil {
		return fmt.Errorf("--egress-policy: %s:%w", path, err)
	}
	o.EgressFile = path
	return nil
}

// minRate is a rate in bytes a second with which a connection can still be made.
const minRate = 1 << 10

// SetNetworkRate sets how many bytes a second steps send and receive, which is for private networks.
func (o *Options) SetNetworkRate(bytes int64) error {
	if o.Network != Private && o.Network != None {
		return fmt.Errorf("steps have the network %s, whose bytes cooper doesn't see: --network=private gives them one of "+
			"their own", o.Network)
	}
	if bytes < minRate {
		return errors.New("is less than 1k a second")
	}
	o.NetworkRate = bytes
	return nil
}

// Key is what the key of a step has of its network: whether there is a way out. What lies at its end is in no
// key, whichever way it is.
func Key(network string) string {
	if network == None {
		return None
	}
	return Host
}

// Networks gives the steps of a build their networks. It is safe for concurrent use.
type Networks struct {
	options Options
	own     *network.Network // those that steps have for themselves
	to      progress.Sink    // gets what tell tells
	told    sync.Map         // the texts that it has told
}

// New makes the Networks of a build. The caller closes it when no step runs any more.
func New(o Options, to progress.Sink) *Networks {
	own := network.New(policy.Policy{Loopback: o.HostLoopback, Egress: o.Egress, Rate: o.NetworkRate})
	return &Networks{options: o, own: own, to: to}
}

// Close lets go of all networks.
func (n *Networks) Close() error { return n.own.Close() }

// Prepare begins to make what a step with a network of a kind needs.
func (n *Networks) Prepare(ctx context.Context, kind string) {
	if kind == Private {
		n.own.Prepare(ctx)
	}
}

// tell tells once what several steps have cause for.
func (n *Networks) tell(text string) {
	if _, told := n.told.LoadOrStore(text, true); !told {
		n.to.Emit(progress.Note{Text: text})
	}
}

// Joined is the network that a step has. Join gives it, Close lets go of it.
type Joined struct {
	// Kind is the kind that the step has in fact.
	Kind string
	ns   *os.File
	own  *network.Namespace // the private network; nil: another kind
	// nameServer and gateway are addresses in a private network.
	nameServer, gateway netip.Addr
	leave               func() error
}

// Close lets go of the network when the step has ended.
func (j Joined) Close() error {
	if j.leave == nil {
		return nil
	}
	return j.leave()
}

// Traffic is whom the step has talked to, if its network is a private one. It is known when Close has returned.
func (j Joined) Traffic() []policy.Traffic {
	if j.own == nil {
		return nil
	}
	return j.own.Traffic()
}

// Apply connects the step.
func (j Joined) Apply(s *executor.Step) {
	s.Network, s.NetNS, s.NameServer, s.HostGateway = j.Kind, j.ns, j.nameServer, j.gateway
	if j.Kind == Named {
		s.Network = executor.NetworkPrivate
	}
}

// Join gives a step the network of a kind. The caller closes it when the step has ended. Until then say gets a line for
// each contact that the egress policy refuses first; it is called by another goroutine.
func (n *Networks) Join(ctx context.Context, kind string, say func(line string)) (Joined, error) {
	switch {
	case kind == Private:
		return n.joinPrivate(ctx, say)
	case n.options.Egress != nil && kind != None:
		return Joined{}, fmt.Errorf("the egress policy %s holds in private networks only, and this step has the network %s: "+
			"leave out --network=%s, or the policy", n.options.EgressFile, kind, kind)
	}
	if kind == Named {
		return n.joinNamed()
	}
	return Joined{Kind: kind}, nil
}

// joinNamed gives the namespace that the options name.
func (n *Networks) joinNamed() (Joined, error) {
	ns, err := network.OpenNamespace(n.options.NetworkNS)
	if err != nil {
		return Joined{}, fmt.Errorf("%w: --network=ns:%s: %w", store.ErrMachine, n.options.NetworkNS, err)
	}
	return Joined{Kind: Named, ns: ns, leave: ns.Close}, nil
}

// joinPrivate gives the step a namespace of its own.
func (n *Networks) joinPrivate(ctx context.Context, say func(line string)) (Joined, error) {
	ns, err := n.own.Take(ctx, func(c policy.Contact) { say(n.refusal(c)) })
	switch impossible := errors.Is(err, network.ErrImpossible); {
	case impossible && n.options.HostIfImpossible && n.options.Egress == nil:
		n.tell(fmt.Sprintf(
			"%v: steps have the host's network, as cooper.toml allows, and reach what listens on this machine", err))
		return Joined{Kind: Host}, nil
	case impossible:
		return Joined{},
			fmt.Errorf("%w: %w\nhint: cooper doctor says more; --network=none if no step needs a network, or "+
				"--network=host, with which steps reach what listens on this machine; for every build: "+
				"allow-host-when-impossible in cooper.toml", store.ErrMachine, err)
	case err != nil:
		return Joined{}, err
	}
	return Joined{
		Kind: Private, ns: ns.File, own: ns, nameServer: policy.Resolver(), gateway: policy.Host(), leave: ns.Close,
	}, nil
}

// refusal is the line for a contact that the egress policy refuses.
func (n *Networks) refusal(c policy.Contact) string {
	what := "a connection to "
	if c.Protocol == policy.Lookup {
		what = "to look up "
	}
	return fmt.Sprintf("cooper: %s refuses %s%s: the line that allows it: %s", n.options.EgressFile, what, c, c.Line())
}

// HostNames are names of the host for steps with a private network, if ports of its loopback are let through.
func (o Options) HostNames(kind string) []string {
	if kind != Private || len(o.HostLoopback) == 0 {
		return nil
	}
	at := policy.Host().String()
	return []string{"host.docker.internal:" + at, "host.containers.internal:" + at}
}
