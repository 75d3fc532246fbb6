package network_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/network"
	"github.com/cooperbuild/cooper/network/policy"
)

func TestALimitOfNamespacesIsSaidToBeTheMachines(t *testing.T) {
	const limit = "/proc/sys/user/max_net_namespaces"
	before, err := os.ReadFile(limit)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(limit, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(limit, bytes.TrimSpace(before), 0); err != nil {
			t.Error(err)
		}
	}()
	n := network.New(policy.Policy{})
	if _, err := n.Take(t.Context(), nil); !errors.Is(err, network.ErrImpossible) || !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if network.Available(t.Context()) == nil {
		t.Error("it is said to be possible")
	}
}
