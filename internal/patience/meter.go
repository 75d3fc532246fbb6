package patience

import (
	"fmt"
	"time"
)

// Limits say what is too slow. The zero value is too impatient for anything.
type Limits struct {
	// Stall is how long one connection may bring nothing, Idle how long all connections of a download may, one after the
	// other.
	Stall, Idle time.Duration
	// Window is a time of waiting, Least the number of bytes that have to come in it.
	Window time.Duration
	Least  int64
}

// Usual are the limits of downloads. Half a kilobyte a second is what the slowest mobile network gives one of several
// downloads.
func Usual() Limits {
	return Limits{Stall: time.Minute, Idle: 2 * time.Minute, Window: 2 * time.Minute, Least: 64 << 10}
}

// Meter is the account of one download. It is not safe for concurrent use.
type Meter struct {
	limits Limits
	// got and took are what came in all, and the time that was waited for it.
	got  int64
	took time.Duration
	// inWindow came in the present window, of which window has passed; nothing has come for idle.
	inWindow     int64
	window, idle time.Duration
}

// NewMeter begins an account.
func NewMeter(l Limits) *Meter { return &Meter{limits: l} }

// Note takes down a read that brought n bytes after a wait. Its error, a *SlowError, ends the download.
func (m *Meter) Note(n int, waited time.Duration) error {
	m.got, m.inWindow = m.got+int64(n), m.inWindow+int64(n)
	m.took, m.window = m.took+waited, m.window+waited
	if m.idle += waited; n > 0 {
		m.idle = 0
	}
	if m.window < m.limits.Window {
		return nil
	}
	if m.inWindow < m.limits.Least {
		return &SlowError{Got: m.got, Took: m.took, Window: m.limits.Window, Least: m.limits.Least}
	}
	m.inWindow, m.window = 0, 0
	return nil
}

// Connect takes down the time that it took to connect anew, or the attempt.
func (m *Meter) Connect(waited time.Duration) {
	m.took += waited
	m.idle += waited
}

// Idle tells how long nothing has come, and whether that is too long for another attempt.
func (m *Meter) Idle() (idle time.Duration, over bool) { return m.idle, m.idle >= m.limits.Idle }

// SlowError says that too little came.
type SlowError struct {
	// Got bytes came in all while Took was waited for them.
	Got  int64
	Took time.Duration
	// Fewer than Least came in the last Window of it.
	Least  int64
	Window time.Duration
}

func (e *SlowError) Error() string {
	return fmt.Sprintf("it is too slow: %d bytes came in %s, and in the last %s of that fewer than %d",
		e.Got, e.Took.Round(time.Second), e.Window.Round(time.Second), e.Least)
}
