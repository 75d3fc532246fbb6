package usage

import (
	"fmt"
	"strings"
	"sync"

	"github.com/docker/go-units"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/network/policy"
)

// Taken is what a step took.
type Taken struct {
	// Step places the step, as in "[builder 3/7]". Text is its instruction, without secrets.
	Step string `json:"step"`
	Text string `json:"instruction"`
	// Seconds of processor time; bytes in memory at most; bytes read from and written to disks.
	Seconds float64 `json:"cpuSeconds"`
	Memory  int64   `json:"memoryBytes"`
	Read    int64   `json:"readBytes"`
	Wrote   int64   `json:"writtenBytes"`
	// Sent and Received are bytes of the contents of connections with others than this machine, in a private network.
	Sent     int64 `json:"sentBytes"`
	Received int64 `json:"receivedBytes"`
	// Talked is whom the step has talked to, if that is asked for.
	Talked []policy.Traffic `json:"network,omitempty"`
}

// String is one line for people, without its end.
func (t Taken) String() string {
	return fmt.Sprintf("%s took %.2fs of processor time and %s of memory, read %s, wrote %s, sent %s and received %s", t.Step, t.Seconds,
		units.HumanSize(float64(t.Memory)), units.HumanSize(float64(t.Read)), units.HumanSize(float64(t.Wrote)),
		units.HumanSize(float64(t.Sent)), units.HumanSize(float64(t.Received)))
}

// Collector is a renderer that hands all on to another one and keeps what steps took. Collect makes it.
type Collector struct {
	progress.Renderer
	tell   bool // the other renderer gets a note for each step
	talked bool // whom steps have talked to is kept

	mu      sync.Mutex // guards the fields below
	steps   map[int]progress.StepStarted
	traffic map[int][]policy.Traffic
	taken   []Taken
}

// Collect makes a collector before another renderer, which with tell it has say what each step took. With talked it
// keeps whom steps have talked to.
func Collect(to progress.Renderer, tell, talked bool) *Collector {
	return &Collector{Renderer: to, tell: tell, talked: talked, steps: map[int]progress.StepStarted{},
		traffic: map[int][]policy.Traffic{}}
}

// Emit keeps what the event says of a step, and hands it on.
func (c *Collector) Emit(e progress.Event) {
	switch e := e.(type) {
	case progress.StepStarted:
		c.mu.Lock()
		c.steps[e.ID] = e
		c.mu.Unlock()
	case progress.StepTalked:
		c.mu.Lock()
		c.traffic[e.ID] = append(c.traffic[e.ID], e.Traffic...)
		c.mu.Unlock()
	case progress.StepUsed:
		if t := c.keep(e); c.tell {
			defer c.Renderer.Emit(progress.Note{Text: t.String()})
		}
	}
	c.Renderer.Emit(e)
}

// ShowsNotes tells whether the other renderer shows notes.
func (c *Collector) ShowsNotes() bool { return progress.ShowsNotes(c.Renderer) }

func (c *Collector) keep(e progress.StepUsed) Taken {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.steps[e.ID]
	t := Taken{Step: s.Name, Text: s.Text, Seconds: e.CPU.Seconds(), Memory: e.Memory, Read: e.Read, Wrote: e.Wrote}
	for _, with := range c.traffic[e.ID] {
		t.Sent, t.Received = t.Sent+with.Sent, t.Received+with.Received
	}
	if c.talked {
		t.Talked = c.traffic[e.ID]
	}
	c.taken = append(c.taken, t)
	return t
}

// Taken is what the steps took that were run, in the order of their ends.
func (c *Collector) Taken() []Taken {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Taken{}, c.taken...)
}

// Text has a line for each of them.
func (c *Collector) Text() string {
	var b strings.Builder
	for _, t := range c.Taken() {
		b.WriteString(t.String() + "\n")
	}
	return b.String()
}
