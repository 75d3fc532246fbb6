package tests_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// TestStepsInAPrivateNetworkReachOnlyWhatIsLetThrough: what package network promises, with each back end and for root
// and an ordinary user.
func TestStepsInAPrivateNetworkReachOnlyWhatIsLetThrough(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		listen := func() string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			_, port, err := net.SplitHostPort(l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			return port
		}
		open, shut := listen(), listen()
		self, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		s.write(t, "ctx/probe", string(self))
		s.write(t, "ctx/Containerfile", fmt.Sprintf(
			"FROM scratch\nCOPY --chmod=755 probe /probe\nRUN [\"/probe\", %q, \"tcp:169.254.1.2:%s\", \"tcp:host.docker.internal:%s\", "+
				"\"tcp:169.254.1.2:%s\", \"tcp:127.0.0.1:%s\", \"tcp:169.254.169.254:80\"]\n", dialWord, open, open, shut, open))
		for name, flags := range map[string][]string{
			"native": nil, "crun": {"--runtime=crun"}, "a map of its own": {"--userns=auto"},
		} {
			line := append([]string{"build", "--progress=plain", "--no-cache", "--host-loopback=" + open},
				flags...)
			r := s.cooper(t, append(line, "ctx")...)
			for what, want := range map[string]bool{
				"tcp:169.254.1.2:" + open: true, "tcp:host.docker.internal:" + open: true, "tcp:169.254.1.2:" + shut: false,
				"tcp:127.0.0.1:" + open: false, "tcp:169.254.169.254:80": false,
			} {
				if !strings.Contains(r.Stderr, fmt.Sprintf("%s: %t\n", what, want)) {
					t.Errorf("%s: %s should be %t:\n%s", name, what, want, r.Stderr)
				}
			}
		}
	})
}
