package executor_test

import (
	"context"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/internal/thread"
)

// newNetNS makes a network namespace that only this test has.
func newNetNS(b *box) *os.File {
	b.t.Helper()
	var ns *os.File
	b.must(thread.OnLost(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	}))
	b.t.Cleanup(func() { _ = ns.Close() })
	return ns
}

func TestAStepJoinsTheNetworkNamespaceThatItIsGiven(t *testing.T) {
	b := newBox(t)
	s := b.sh("stat -L -c %i /proc/self/ns/net; ls /sys/class/net; grep nameserver /etc/resolv.conf; grep gate /etc/hosts; " +
		"ip -o link | wc -l")
	s.Network, s.NetNS = executor.NetworkPrivate, newNetNS(b)
	s.NameServer, s.HostGateway = netip.MustParseAddr("169.254.9.9"), netip.MustParseAddr("169.254.9.8")
	s.AddHosts = []string{"gate:host-gateway"}
	var st unix.Stat_t
	b.must(unix.Fstat(int(s.NetNS.Fd()), &st))
	got := strings.Fields(b.output(s))
	want := []string{strconv.FormatUint(st.Ino, 10), "lo", "nameserver", "169.254.9.9", "169.254.9.8", "gate", "1"}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%q, not %q", got, want)
	}
}

func TestNameServersThatAreGivenWinOverTheNetworks(t *testing.T) {
	b := newBox(t)
	s := b.sh("grep nameserver /etc/resolv.conf")
	s.Network, s.NetNS, s.NameServer = executor.NetworkPrivate, newNetNS(b), netip.MustParseAddr("169.254.9.9")
	s.DNS.Servers = []string{"192.0.2.53"}
	if got := b.output(s); got != "nameserver 192.0.2.53\n" {
		t.Errorf("%q", got)
	}
}

func TestAPrivateNetworkNeedsItsNamespace(t *testing.T) {
	b := newBox(t)
	s := b.sh("true")
	s.Network = executor.NetworkPrivate
	if _, err := executor.Run(context.Background(), s); err == nil {
		t.Error("a step ran in a network that isn't there")
	}
}
