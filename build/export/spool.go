package export

import (
	"os"
	"sync"
)

// spools holds the temporary files that are open, so that all of them can be closed at the end.
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

// closeAll closes all files and ignores errors: their content isn't needed any more.
func (s *spools) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.open {
		_ = f.Close()
	}
	s.open = nil
}
