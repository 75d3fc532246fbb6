package rootfs

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/userns"
)

// TestOwnersAreCheckedBeforeTheCommit has a root whose commit never ends, and a context that ends any wait for it.
func TestOwnersAreCheckedBeforeTheCommit(t *testing.T) {
	ids, err := userns.NewMap(userns.Range{Host: 100000, Length: 1000})
	if err != nil {
		t.Fatal(err)
	}
	m := &userns.Mapping{UIDs: ids, GIDs: ids}
	ended := errors.New("it waits")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ended)
	o := &owners{}
	made := func(owners ...fileop.Owner) *Root {
		base := sealedRoot(nil, "", nil, time.Time{})
		step := &Staged{Below: base}
		step.WroteFor(owners...)
		return &Root{below: base, base: base, made: true, wrote: step.wrote, known: make(chan struct{}),
			sealed: make(chan struct{})}
	}
	run, copied := made(), made(fileop.Owner{UID: 0, GID: 0}, fileop.Owner{UID: 999, GID: 33})
	for _, r := range []*Root{run, copied} {
		if err := o.check(ctx, r, m); err != nil {
			t.Errorf("owners %v: %v", r.wrote, err)
		}
	}
	if got, err := o.added(ctx, copied); err != nil || got.Highest() != 999 {
		t.Errorf("the owners of a copy are %v, %v", got, err)
	}
	// What a copy wrote first it may have replaced: only the layer tells.
	if err := o.check(ctx, made(fileop.Owner{UID: 1000, GID: 0}), m); !errors.Is(err, ended) {
		t.Errorf("an owner that the map hasn't got: %v", err)
	}
	if err := o.check(ctx, made(fileop.Owner{UID: 1000, GID: 0}), nil); err != nil {
		t.Errorf("without a map: %v", err)
	}
}
