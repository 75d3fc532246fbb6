package fileop

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// ownerSet is a set of owners that several goroutines add to.
type ownerSet struct {
	last atomic.Pointer[Owner] // most files have the owner of the one before
	mu   sync.Mutex
	all  map[Owner]bool
}

func (s *ownerSet) add(o Owner) {
	if last := s.last.Load(); last != nil && *last == o {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[Owner]bool{}
	}
	s.all[o] = true
	s.last.Store(&o)
}

func (s *ownerSet) list() []Owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.all))
}
