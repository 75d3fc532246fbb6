package export

import (
	"os"
	"sync"
)

// spools knows the files that are open, so that none of them outlives what it is for.
type spools struct {
	mu   sync.Mutex
	open map[*os.File]struct{}
}

func (s *spools) keep(f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*os.File]struct{}{}
	}
	s.open[f] = struct{}{}
}

func (s *spools) close(f *os.File) error {
	s.mu.Lock()
	delete(s.open, f)
	s.mu.Unlock()
	return f.Close()
}

// closeAll is for files whose content doesn't matter any more.
func (s *spools) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.open {
		_ = f.Close()
	}
	s.open = nil
}
