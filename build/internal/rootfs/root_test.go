package rootfs

import (
	"errors"
	"testing"
	"time"
)

func TestWhoWaitsLearnsWhyARootFailed(t *testing.T) {
	t.Parallel()
	base := sealedRoot(nil, "", nil, time.Time{})
	r := &Root{below: base, base: base, known: make(chan struct{}), sealed: make(chan struct{})}
	if r.IsSealed() || r.depth() != 1 {
		t.Errorf("sealed %v, depth %d", r.IsSealed(), r.depth())
	}
	results := make(chan error, 2)
	go func() { results <- r.Wait(t.Context()) }()
	go func() { results <- r.WaitKnown(t.Context()) }()
	broken := errors.New("broken")
	r.err, r.unknown = broken, broken
	close(r.known)
	close(r.sealed)
	for range 2 {
		if err := <-results; !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
	if r.IsSealed() {
		t.Error("a failed root counts as one that is in the store")
	}
}
