package runstep

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
	if diff := cmp.Diff(append(through, given[3:]...), o.proxies(op, NetworkPrivate)); diff != "" {
		t.Error(diff)
	}
	for name, got := range map[string][]string{
		"no port": Options{}.proxies(op, NetworkPrivate), "the host's network": o.proxies(op, NetworkHost),
	} {
		if diff := cmp.Diff(given, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestTheKeyOfAStepTellsOnlyWhetherThereIsAWayOut(t *testing.T) {
	t.Parallel()
	for network, want := range map[string]string{
		NetworkHost: NetworkHost, NetworkPrivate: NetworkHost, networkNS: NetworkHost, NetworkNone: NetworkNone,
	} {
		if got := networkKey(network); got != want {
			t.Errorf("%s: %s", network, got)
		}
	}
}
