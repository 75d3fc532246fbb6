package runstep

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/network"
	"github.com/cooperbuild/cooper/network/policy"
)

// The networks of steps.
const (
	NetworkDefault = "default" // in flags: what defaultNetwork is
	NetworkHost    = "host"    // cooper's own
	NetworkNone    = "none"    // a loopback device
	NetworkPrivate = "private" // one of the step's own, with a way out
	networkNS      = "ns"      // the namespace that Options.NetworkNS names
)

// defaultNetwork is the network of steps for which nobody asks for another.
const defaultNetwork = NetworkHost

// SetNetwork sets what --network says.
func (o *Options) SetNetwork(text string) error {
	kind, rest, more := strings.Cut(text, ":")
	switch {
	case text == NetworkDefault:
		o.Network = defaultNetwork
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
	own   *network.Network // those that steps have for themselves
	named string           // the path of the namespace that steps join; see Options.NetworkNS
}

// join gives the step the network that it has. The caller calls leave when the step has ended.
func (n networks) join(ctx context.Context, s *executor.Step) (leave func() error, err error) {
	switch s.Network {
	case NetworkPrivate:
		return n.joinPrivate(ctx, s)
	case networkNS:
		return n.joinNamed(s)
	}
	return func() error { return nil }, nil
}

// joinNamed gives the step the namespace that the options name.
func (n networks) joinNamed(s *executor.Step) (leave func() error, err error) {
	ns, err := network.OpenNamespace(n.named)
	if err != nil {
		return nil, fmt.Errorf("%w: --network=ns:%s: %w", store.ErrMachine, n.named, err)
	}
	s.Network, s.NetNS = executor.NetworkPrivate, ns
	return ns.Close, nil
}

// joinPrivate gives the step a namespace of its own.
func (n networks) joinPrivate(ctx context.Context, s *executor.Step) (leave func() error, err error) {
	ns, err := n.own.Take(ctx)
	if errors.Is(err, network.ErrImpossible) {
		return nil, fmt.Errorf("%w: %w\nhint: cooper doctor says more; --network=none if no step needs a network, or "+
			"--network=host, with which steps reach what listens on this machine", store.ErrMachine, err)
	}
	if err != nil {
		return nil, err
	}
	s.NetNS, s.NameServer, s.HostGateway = ns.File, policy.Resolver(), policy.Host()
	return ns.Close, nil
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
