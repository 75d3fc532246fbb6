package progress

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cooperbuild/cooper/internal/guard"
)

// meterEvery is how often a meter is read.
const meterEvery = 200 * time.Millisecond

// A Meter counts files and bytes that are moved, and emits a [Transfer] a few times a second, so that the moving code
// only has to count. A transfer that ends before the first time isn't shown at all.
type Meter struct {
	sink         Sink
	transfer     Transfer
	files, bytes atomic.Int64

	ended   chan struct{}
	stopped sync.WaitGroup
}

// StartMeter starts a meter for the transfer t, of which only ID, What and Total are used. The caller calls Stop when
// the transfer is over, before the step ends.
func StartMeter(sink Sink, t Transfer) *Meter {
	m := &Meter{sink: sink, transfer: t, ended: make(chan struct{})}
	m.stopped.Go(func() {
		_ = guard.Call(func() error { m.run(); return nil }) // what isn't shown isn't missed
	})
	return m
}

// Add adds to the files and bytes that were moved. Any goroutine may call it.
func (m *Meter) Add(files, bytes int64) {
	m.files.Add(files)
	m.bytes.Add(bytes)
}

// Write counts the bytes of p, which makes a Meter an io.Writer. It never fails.
func (m *Meter) Write(p []byte) (int, error) {
	m.Add(0, int64(len(p)))
	return len(p), nil
}

// Stop ends the meter. If the transfer was shown, Stop shows how far it came.
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
