package progress

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cooperbuild/cooper/internal/guard"
)

// meterEvery is how often a meter is read.
const meterEvery = 200 * time.Millisecond

// A Meter counts what is moved and shows it as a [Transfer] a few times a second, so that who moves something has
// nothing to do but to count. What is over at once isn't shown at all.
type Meter struct {
	sink         Sink
	transfer     Transfer
	files, bytes atomic.Int64

	ended   chan struct{}
	stopped sync.WaitGroup
}

// StartMeter begins a transfer, of which ID, What and Total count. The caller calls Stop when it is over, and before
// the step is.
func StartMeter(sink Sink, t Transfer) *Meter {
	m := &Meter{sink: sink, transfer: t, ended: make(chan struct{})}
	m.stopped.Go(func() {
		_ = guard.Call(func() error { m.run(); return nil }) // what isn't shown isn't missed
	})
	return m
}

// Add counts; any goroutine may call it.
func (m *Meter) Add(files, bytes int64) {
	m.files.Add(files)
	m.bytes.Add(bytes)
}

// Write counts the bytes of p, which makes a Meter an io.Writer. It never fails.
func (m *Meter) Write(p []byte) (int, error) {
	m.Add(0, int64(len(p)))
	return len(p), nil
}

// Stop shows how far a transfer came that has been shown.
func (m *Meter) Stop() {
	close(m.ended)
	m.stopped.Wait()
}

func (m *Meter) run() {
	ticker := time.NewTicker(meterEvery)
	defer ticker.Stop()
	shown := false
	for {
		select {
		case <-ticker.C:
			if t := m.read(); t.Done > 0 {
				shown = true
				m.sink.Emit(t)
			}
		case <-m.ended:
			if shown {
				m.sink.Emit(m.read())
			}
			return
		}
	}
}

func (m *Meter) read() Transfer {
	t := m.transfer
	t.Files, t.Done = m.files.Load(), m.bytes.Load()
	return t
}
