package stepnet

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/network/policy"
)

// ProxyEnv gives the proxy variables of a step. A proxy at the host's loopback is reached at the host's address in a
// private network, if its port is let through; otherwise the variable stays, and Warn tells of it.
func (o Options) ProxyEnv(op *plan.Run, kind string) []string {
	if kind != Private {
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

// Warn says, once for each, of what a step with a private network is given which leads to the host's loopback, where it
// reaches nothing: proxies and name servers that serve programs of the host. Values of proxies, which may have
// passwords, aren't in the texts.
func (n *Networks) Warn(op *plan.Run, kind string, dns executor.DNS) {
	for _, text := range n.options.deadEnds(op, kind, dns.Servers) {
		n.tell(text)
	}
}

func (o Options) deadEnds(op *plan.Run, kind string, servers []string) (texts []string) {
	if kind != Private {
		return nil
	}
	const why = "names this machine's loopback address, where a step in a private network reaches only itself"
	for i, variable := range slices.Concat(op.Env, op.ProxyEnv) {
		name, value, _ := strings.Cut(variable, "=")
		_, port, ok := loopbackURL(value)
		fixed := i < len(op.Env) // the image or the Dockerfile says so
		switch {
		case !ok || !slices.Contains(plan.ProxyNames(), name):
		case fixed:
			texts = append(texts, fmt.Sprintf("ENV or ARG %s %s: --network=host connects steps as it expects", name, why))
		case !(policy.Policy{Loopback: o.HostLoopback}).LetsThrough(port):
			texts = append(texts, fmt.Sprintf("%s %s: --host-loopback=%d lets steps reach the proxy", name, why, port))
		}
	}
	for _, server := range servers {
		if a, err := netip.ParseAddr(server); err == nil && a.IsLoopback() {
			texts = append(texts, fmt.Sprintf("--dns=%s %s: without --dns it asks whom this machine asks", server, why))
		}
	}
	return texts
}
