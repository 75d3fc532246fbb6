package reclaim

import (
	"context"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/session"
)

// UsageIn measures what the session's store holds. A store that doesn't exist holds nothing, and UsageIn makes none.
func UsageIn(ctx context.Context, s *session.Session) (u Usage, err error) {
	u = Summarize(nil)
	err = withExisting(ctx, s, func(d *depot.Depot) (err error) {
		u, err = Measure(ctx, d)
		return err
	})
	return u, err
}

// PruneRequest says what is to be removed from a session's store.
type PruneRequest struct {
	Policy disk.Policy
	// Sure decides whether the listed items are removed; PruneIn calls it once, before it removes any. Nil: yes.
	Sure func(items []disk.Item) (bool, error)
}

// PruneIn removes what a policy chooses, and returns the removed items, also together with an error. Items
// in use stay.
func PruneIn(ctx context.Context, s *session.Session, req PruneRequest) (gone []disk.Item, err error) {
	err = withExisting(ctx, s, func(d *depot.Depot) (err error) {
		gone, err = Prune(ctx, d, req.Policy, req.Sure)
		return err
	})
	return gone, err
}

// withExisting calls do with the store of the session, if there is one.
func withExisting(ctx context.Context, s *session.Session, do func(*depot.Depot) error) error {
	d, err := s.Existing(ctx)
	if err != nil || d == nil {
		return err
	}
	return s.Explain(do(d))
}
