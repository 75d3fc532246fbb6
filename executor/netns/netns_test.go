package netns_test

import (
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/netns"
	"github.com/cooperbuild/cooper/internal/thread"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) { os.Exit(usertest.Main(m.Run)) }

func TestWhoMayNotSetUpNetworksMaySetUpTheNewOne(t *testing.T) {
	for name, without := range map[string]uint32{"all capabilities": 0, "no CAP_NET_ADMIN": 1 << unix.CAP_NET_ADMIN} {
		err := thread.OnLost(func() error {
			if err := drop(without); err != nil {
				return err
			}
			ns, err := netns.Enter()
			if err != nil {
				return err
			}
			if all, err := net.Interfaces(); err != nil || len(all) != 1 {
				t.Errorf("%s: the devices there are %v, %v", name, all, err)
			}
			if err := switchOn("lo"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			return ns.Close()
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// drop takes capabilities from the calling thread.
func drop(without uint32) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return err
	}
	have[0].Effective &^= without
	have[0].Permitted &^= without
	have[0].Inheritable &^= without
	return unix.Capset(&header, &have[0])
}

// switchOn switches on a device of the thread's network.
func switchOn(device string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
