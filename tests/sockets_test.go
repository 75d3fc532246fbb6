package tests_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// dialWord is the first argument of this program when it is to try sockets, which is what it does in steps.
const dialWord = "dial"

// dialAll tries each address, "unix:@NAME" or "tcp:HOST:PORT", and a socket of its own, and says which it has reached.
func dialAll(addresses []string) {
	l, err := net.Listen("unix", "@cooper-e2e-own")
	if err != nil {
		fmt.Println("listen:", err)
		return
	}
	defer func() { _ = l.Close() }()
	for _, address := range append(addresses, "unix:@cooper-e2e-own") {
		network, name, _ := strings.Cut(address, ":")
		c, err := net.DialTimeout(network, name, 10*time.Second)
		if err == nil {
			_ = c.Close()
		}
		fmt.Printf("%s: %t\n", address, err == nil)
	}
}

// TestStepsDontReachTheHostsAbstractSockets holds docs/security.md's table against each back end: what is the host's loopback is reached by
// default, abstract sockets are not.
func TestStepsDontReachTheHostsAbstractSockets(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		abstract := fmt.Sprintf("@cooper-e2e-%d-%s", os.Getpid(), m.Name)
		reached := make(chan string, 64)
		listen := func(network, address string) net.Addr {
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					reached <- network
					_ = c.Close()
				}
			}()
			return l.Addr()
		}
		listen("unix", abstract)
		port := listen("tcp", "127.0.0.1:0").String()
		self, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		s.write(t, "ctx/Containerfile", fmt.Sprintf("FROM scratch\nCOPY --chmod=755 probe /probe\nRUN [\"/probe\", %q, \"unix:%s\", \"tcp:%s\"]\n", dialWord, abstract, port))
		s.write(t, "ctx/probe", string(self))
		for _, test := range []struct {
			flags []string
			tcp   bool
		}{{nil, true}, {[]string{"--runtime=crun"}, true}, {[]string{"--runtime=runc"}, true}, {[]string{"--network=none"}, false}} {
			r := s.cooper(t, append([]string{"build", "--no-cache", "--progress=plain", "ctx"}, test.flags...)...)
			r.succeeds(t)
			for _, want := range []string{"unix:" + abstract + ": false", fmt.Sprintf("tcp:%s: %t", port, test.tcp), "unix:@cooper-e2e-own: true"} {
				if !strings.Contains(r.Stderr, want) {
					t.Errorf("%v: no %q in\n%s", test.flags, want, tail(r.Stderr))
				}
			}
		}
		for len(reached) > 0 {
			if network := <-reached; network == "unix" {
				t.Error("a step has reached the abstract socket")
			}
		}
	})
}
