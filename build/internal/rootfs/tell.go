package rootfs

import (
	"context"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs/account"
)

// missed tells why the step runs; key is what it was looked up by.
func (m making) missed(ctx context.Context, cause account.Cause, key cache.Key) {
	to := m.roots.Teller
	if to == nil {
		return
	}
	miss := account.Miss{Cause: cause, Shape: m.shape.Key, Key: key}
	if cause == account.NoRecord {
		switch rec := m.roots.Cache.Get(key); {
		case rec == nil:
		case fresh(rec, m.roots.TTL) == nil:
			miss.Cause, miss.Record = account.TooOld, rec
		default:
			miss.Cause, miss.Record = account.LayerLost, rec
		}
	}
	if d, ok := m.work.(Described); ok && (cause == account.NoRecord || cause == account.NewShape) {
		miss.Recipe = func(ctx context.Context) (*cache.Recipe, error) {
			if cause == account.NewShape {
				return d.Recipe(ctx, nil)
			}
			return d.Recipe(ctx, &m.below.content)
		}
	}
	to.Missed(ctx, m.step, miss)
}

// cause is why a step runs that isn't looked up, or has not been seen.
func (m making) cause() account.Cause {
	switch {
	case m.roots.NoCache:
		return account.NoCache
	case m.step.Fresh:
		return account.Fresh
	}
	return account.NewShape
}
