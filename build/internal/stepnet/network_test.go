package stepnet

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/plan"
)

func TestProxiesAtTheHostsLoopbackAreReachedAtTheGatewayWhereTheyAreLetThrough(t *testing.T) {
	t.Parallel()
	given := []string{
		"http_proxy=http://127.0.0.1:3128", "HTTP_PROXY=http://user:pass@localhost:3128/", "https_proxy=http://[::1]:3128",
		"ftp_proxy=http://127.0.0.1:99", "all_proxy=socks5://proxy.example:1080", "no_proxy=127.0.0.1,localhost",
	}
	op := &plan.Run{ProxyEnv: given}
	through := []string{
		"http_proxy=http://169.254.1.2:3128", "HTTP_PROXY=http://user:pass@169.254.1.2:3128/",
		"https_proxy=http://169.254.1.2:3128",
	}
	o := Options{HostLoopback: []uint16{3128}}
	if diff := cmp.Diff(append(through, given[3:]...), o.ProxyEnv(op, Private)); diff != "" {
		t.Error(diff)
	}
	for name, got := range map[string][]string{
		"no port": Options{}.ProxyEnv(op, Private), "the host's network": o.ProxyEnv(op, Host),
	} {
		if diff := cmp.Diff(given, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestWhatLeadsToTheHostsLoopbackIsToldWithItsRemedy(t *testing.T) {
	t.Parallel()
	op := &plan.Run{
		Env: []string{"http_proxy=http://localhost:80", "OTHER=http://127.0.0.1:80"},
		ProxyEnv: []string{"https_proxy=http://user:secret@127.0.0.1:3128", "ALL_PROXY=http://[::1]:99",
			"NO_PROXY=127.0.0.1"},
	}
	o := Options{HostLoopback: []uint16{99}}
	servers := []string{"127.0.0.53", "192.0.2.1"}
	const why = " names this machine's loopback address, where a step in a private network reaches only itself: "
	want := []string{
		"ENV or ARG http_proxy" + why + "--network=host connects steps as it expects",
		"https_proxy" + why + "--host-loopback=3128 lets steps reach the proxy",
		"--dns=127.0.0.53" + why + "without --dns it asks whom this machine asks",
	}
	if diff := cmp.Diff(want, o.deadEnds(op, Private, servers)); diff != "" {
		t.Error(diff)
	}
	for _, network := range []string{Host, None, Named} {
		if got := o.deadEnds(op, network, servers); len(got) > 0 {
			t.Errorf("%s: %q", network, got)
		}
	}
}

func TestTheKeyOfAStepTellsOnlyWhetherThereIsAWayOut(t *testing.T) {
	t.Parallel()
	for network, want := range map[string]string{
		Host: Host, Private: Host, Named: Host, None: None,
	} {
		if got := Key(network); got != want {
			t.Errorf("%s: %s", network, got)
		}
	}
}
