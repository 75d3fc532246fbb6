package loglimit

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/docker/go-units"
)

// Limit says how much of a step's output is shown; what is beyond is left out. 0 is any.
type Limit struct {
	Size  int64 // bytes in all
	Speed int64 // bytes in a second, on average since the step's first output
}

// clipped is the output of one step, of which no more is handed on than a limit allows.
type clipped struct {
	limit Limit
	now   func() time.Time

	mu      sync.Mutex
	begun   time.Time
	written int64 // bytes that were handed on
	full    bool  // Size is reached, which has been said
	fast    bool  // Speed is exceeded, which has been said since it last wasn't
}

// Clip gives writers in place of a step's two, which share the limit.
func (l Limit) Clip(stdout, stderr io.Writer) (out, err io.Writer) {
	if l.Size <= 0 && l.Speed <= 0 {
		return stdout, stderr
	}
	c := &clipped{limit: l, now: time.Now}
	return clippedStream{c, stdout}, clippedStream{c, stderr}
}

// clippedStream is one of the two streams.
type clippedStream struct {
	*clipped
	to io.Writer
}

var _ io.Writer = clippedStream{}

// Write hands on as much as the limit allows. It takes everything: a command isn't kept waiting for its output.
func (s clippedStream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun.IsZero() {
		s.begun = s.now()
	}
	some, note := s.allowed(p)
	if len(some) > 0 {
		if _, err := s.to.Write(some); err != nil {
			return 0, err
		}
		s.written += int64(len(some))
	}
	if note != "" {
		if _, err := io.WriteString(s.to, note); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// allowed gives the part of p that may be handed on, and what is said of the rest.
func (s *clipped) allowed(p []byte) (some []byte, note string) {
	if s.full {
		return nil, ""
	}
	if room := s.limit.Size - s.written; s.limit.Size > 0 && int64(len(p)) > room {
		s.full = true
		return p[:room], fmt.Sprintf("\n[output clipped, log limit %s reached]\n", units.BytesSize(float64(s.limit.Size)))
	}
	if s.limit.Speed <= 0 {
		return p, ""
	}
	// A second's worth may come at once.
	seconds := s.now().Sub(s.begun).Seconds() + 1
	if room := int64(seconds*float64(s.limit.Speed)) - s.written; int64(len(p)) > room {
		if s.fast {
			return nil, ""
		}
		s.fast = true
		return p[:max(0, room)], fmt.Sprintf("\n[output clipped, log limit %s/s reached]\n",
			units.BytesSize(float64(s.limit.Speed)))
	}
	s.fast = false
	return p, ""
}
