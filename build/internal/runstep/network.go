package runstep

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/network"
	"github.com/cooperbuild/cooper/network/policy"
)

// The networks of steps.
const (
	NetworkHost    = "host"    // cooper's own
	NetworkNone    = "none"    // a loopback device
	NetworkPrivate = "private" // one of the step's own, with a way out
	networkNS      = "ns"      // the namespace that Options.NetworkNS names
)

// DefaultNetwork is the network of steps for which nobody asks for another.
const DefaultNetwork = NetworkHost

// SetNetwork sets what --network says, if it isn't default.
func (o *Options) SetNetwork(text string) error {
	kind, rest, more := strings.Cut(text, ":")
	switch {
	case text == NetworkHost:
		o.Network, o.HostNetwork = NetworkHost, true
	case text == NetworkNone:
		o.Network = NetworkNone
	case text == NetworkPrivate, text == "bridge": // docker's and podman's name for one with a way out
		o.Network = NetworkPrivate
	case kind == networkNS && rest != "":
		path, err := filepath.Abs(rest)
		if err != nil {
			return fmt.Errorf("--network=%s: %w", text, err)
		}
		o.Network, o.NetworkNS = networkNS, path
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
	if len(ports) > 0 && o.Network != NetworkPrivate {
		return fmt.Errorf("--host-loopback is for --network=private: steps in another network reach what that has")
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

// networkKey is what the key of a step has of its network: whether there is a way out. What lies at its end is in no
// key, whichever way it is.
func networkKey(network string) string {
	if network == NetworkNone {
		return NetworkNone
	}
	return NetworkHost
}

// networks gives steps their networks.
type networks struct {
	own      *network.Network // those that steps have for themselves
	named    string           // the path of the namespace that steps join; see Options.NetworkNS
	orHost   bool             // see Options.HostIfImpossible
	warnHost func(why error)  // tells, once, that steps have the host's network
}

func newNetworks(o Options, to progress.Sink) networks {
	var once sync.Once
	return networks{
		own: network.New(policy.Policy{Loopback: o.HostLoopback}), named: o.NetworkNS, orHost: o.HostIfImpossible,
		warnHost: func(why error) {
			once.Do(func() {
				to.Emit(progress.Note{Text: fmt.Sprintf(
					"%v: steps have the host's network, as cooper.toml allows, and reach what listens on this machine", why)})
			})
		},
	}
}

// stepNetwork is the network that a step has. The zero value is one that needs nothing.
type stepNetwork struct {
	// kind is one of the constants, and the one that the step has in fact.
	kind string
	ns   *os.File
	// nameServer and gateway are addresses in a private network.
	nameServer, gateway netip.Addr
	leave               func() error
}

// close lets go of the network when the step has ended.
func (j stepNetwork) close() error {
	if j.leave == nil {
		return nil
	}
	return j.leave()
}

// apply connects the step.
func (j stepNetwork) apply(s *executor.Step) {
	s.Network, s.NetNS, s.NameServer, s.HostGateway = j.kind, j.ns, j.nameServer, j.gateway
	if j.kind == networkNS {
		s.Network = executor.NetworkPrivate
	}
}

// join gives a step the network of a kind. The caller closes it when the step has ended.
func (n networks) join(ctx context.Context, kind string) (stepNetwork, error) {
	switch kind {
	case NetworkPrivate:
		return n.joinPrivate(ctx)
	case networkNS:
		return n.joinNamed()
	}
	return stepNetwork{kind: kind}, nil
}

// joinNamed gives the namespace that the options name.
func (n networks) joinNamed() (stepNetwork, error) {
	ns, err := network.OpenNamespace(n.named)
	if err != nil {
		return stepNetwork{}, fmt.Errorf("%w: --network=ns:%s: %w", store.ErrMachine, n.named, err)
	}
	return stepNetwork{kind: networkNS, ns: ns, leave: ns.Close}, nil
}

// joinPrivate gives the step a namespace of its own.
func (n networks) joinPrivate(ctx context.Context) (stepNetwork, error) {
	ns, err := n.own.Take(ctx)
	switch impossible := errors.Is(err, network.ErrImpossible); {
	case impossible && n.orHost:
		n.warnHost(err)
		return stepNetwork{kind: NetworkHost}, nil
	case impossible:
		return stepNetwork{},
			fmt.Errorf("%w: %w\nhint: cooper doctor says more; --network=none if no step needs a network, or "+
				"--network=host, with which steps reach what listens on this machine", store.ErrMachine, err)
	case err != nil:
		return stepNetwork{}, err
	}
	return stepNetwork{kind: NetworkPrivate, ns: ns.File, nameServer: policy.Resolver(), gateway: policy.Host(),
			leave: ns.Close},
		nil
}

// hostNames are names of the host for steps with a private network, if ports of its loopback are let through.
func (o Options) hostNames(network string) []string {
	if network != NetworkPrivate || len(o.HostLoopback) == 0 {
		return nil
	}
	at := policy.Host().String()
	return []string{"host.docker.internal:" + at, "host.containers.internal:" + at}
}

// proxies gives the proxy variables of a step. A proxy at the host's loopback is reached at the host's address in a
// private network, if its port is let through; otherwise the variable stays, and says where it leads.
func (o Options) proxies(op *plan.Run, network string) []string {
	if network != NetworkPrivate {
		return op.ProxyEnv
	}
	list := slices.Clone(op.ProxyEnv)
	for i, variable := range list {
		name, value, _ := strings.Cut(variable, "=")
		if at, ok := o.throughGateway(value); ok {
			list[i] = name + "=" + at
		}
	}
	return list
}

// throughGateway gives the URL of a proxy as a step with a private network reaches it, if it is at the host's loopback
// and let through.
func (o Options) throughGateway(text string) (string, bool) {
	u, port, ok := loopbackURL(text)
	if !ok || !(policy.Policy{Loopback: o.HostLoopback}).LetsThrough(port) {
		return "", false
	}
	u.Host = net.JoinHostPort(policy.Host().String(), strconv.Itoa(int(port)))
	return u.String(), true
}

// loopbackURL reads a URL with a port at a loopback address.
func loopbackURL(text string) (u *url.URL, port uint16, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return nil, 0, false
	}
	name := u.Hostname()
	a, err := netip.ParseAddr(name)
	if name != "localhost" && (err != nil || !a.IsLoopback()) {
		return nil, 0, false
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return nil, 0, false
	}
	return u, uint16(n), true
}
