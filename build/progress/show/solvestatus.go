package show

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/lines"
)

// The JSON of BuildKit's client.SolveStatus, of which this view writes one a line. Times are those of the events.
type (
	solveStatus struct {
		Vertexes []vertex        `json:"vertexes,omitempty"`
		Statuses []vertexStatus  `json:"statuses,omitempty"`
		Logs     []vertexLog     `json:"logs,omitempty"`
		Warnings []vertexWarning `json:"warnings,omitempty"`
	}
	vertex struct {
		Digest    digest.Digest `json:"digest"`
		Name      string        `json:"name,omitempty"`
		Started   *time.Time    `json:"started,omitempty"`
		Completed *time.Time    `json:"completed,omitempty"`
		Cached    bool          `json:"cached,omitempty"`
		Error     string        `json:"error,omitempty"`
	}
	vertexStatus struct {
		ID        string        `json:"id"`
		Vertex    digest.Digest `json:"vertex"`
		Total     int64         `json:"total,omitempty"`
		Current   int64         `json:"current"`
		Timestamp time.Time     `json:"timestamp"`
		Started   *time.Time    `json:"started,omitempty"`
		Completed *time.Time    `json:"completed,omitempty"`
	}
	vertexLog struct {
		Vertex digest.Digest `json:"vertex"`
		// Stream is 1 for standard output and 2 for standard error.
		Stream    int       `json:"stream"`
		Data      []byte    `json:"data"`
		Timestamp time.Time `json:"timestamp"`
	}
	vertexWarning struct {
		Vertex     digest.Digest `json:"vertex"`
		Level      int           `json:"level,omitempty"`
		Short      []byte        `json:"short,omitempty"`
		Detail     [][]byte      `json:"detail,omitempty"`
		URL        string        `json:"url,omitempty"`
		SourceInfo *sourceInfo   `json:"sourceInfo,omitempty"`
		Range      []lineRange   `json:"range,omitempty"`
	}
	sourceInfo struct {
		Filename string `json:"filename,omitempty"`
	}
	lineRange struct {
		Start position `json:"start"`
		End   position `json:"end"`
	}
	position struct {
		Line int `json:"line"`
	}
)

// solveStatuses writes a SolveStatus a line as things happen.
type solveStatuses struct {
	mu      sync.Mutex
	out     jsonOut
	tracker tracker
	// vertexes are the running steps by ID.
	vertexes map[int]vertex
	// extra counts the vertexes that stand for no step, checked is that of warnings; empty until there is one.
	extra   int
	checked digest.Digest
	closed  bool
}

var _ progress.Renderer = (*solveStatuses)(nil)

func newSolveStatuses(out io.Writer) *solveStatuses {
	return &solveStatuses{out: jsonOut{w: out}, tracker: newTracker(nil), vertexes: map[int]vertex{}}
}

// Emit implements progress.Sink. It waits for the write.
func (r *solveStatuses) Emit(e progress.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}

	switch e := e.(type) {
	case progress.StepStarted:
		v := r.start(r.tracker.start(e))
		r.out.write(solveStatus{Vertexes: []vertex{v}})
	case progress.StepOutput:
		r.output(e)
	case progress.Transfer:
		r.transfer(e)
	case progress.Explained:
		r.output(progress.StepOutput{ID: e.ID, Data: []byte("why: " + lines.One(e.Text) + "\n"), Stderr: true})
	case progress.StepDone:
		r.done(e)
	case progress.Warning:
		r.warn(e)
	case progress.Note:
		now := r.now()
		r.out.write(solveStatus{Vertexes: []vertex{
			{Digest: r.other("note"), Name: lines.One(e.Text), Started: &now, Completed: &now},
		}})
	}
}

// Close implements progress.Renderer.
func (r *solveStatuses) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.out.err
}

func (r *solveStatuses) now() time.Time { return r.tracker.now().UTC() }

// start makes the vertex of a step. Its digest stands for this one step of this one build.
func (r *solveStatuses) start(s *step) vertex {
	started := s.started.UTC()
	v := vertex{
		Digest: digest.FromString(fmt.Sprintf("step %d\n%s", s.id, s.title())), Name: s.title(), Started: &started,
	}
	r.vertexes[s.id] = v
	return v
}

// vertex is that of a running step.
func (r *solveStatuses) vertex(id int) vertex {
	s := r.tracker.step(id)
	if v, ok := r.vertexes[id]; ok {
		return v
	}
	return r.start(s)
}

// other is the digest of a new vertex that stands for no step.
func (r *solveStatuses) other(kind string) digest.Digest {
	r.extra++
	return digest.FromString(fmt.Sprintf("%s %d", kind, r.extra))
}

func (r *solveStatuses) output(e progress.StepOutput) {
	entry := vertexLog{Vertex: r.vertex(e.ID).Digest, Stream: 1, Timestamp: r.now()}
	if e.Stderr {
		entry.Stream = 2
	}
	for data := e.Data; len(data) > 0; data = data[len(entry.Data):] {
		entry.Data = data[:min(len(data), maxPiece)]
		r.out.write(solveStatus{Logs: []vertexLog{entry}})
	}
}

func (r *solveStatuses) transfer(e progress.Transfer) {
	x := r.tracker.due(e, transferJSONEvery)
	if x == nil {
		return
	}
	v, now := r.vertex(e.ID), r.now()
	s := vertexStatus{ID: lines.One(e.What), Vertex: v.Digest, Current: e.Done, Total: max(e.Total, 0), Timestamp: now,
		Started: v.Started}
	if x.over {
		s.Completed = &now
	}
	r.out.write(solveStatus{Statuses: []vertexStatus{s}})
}

func (r *solveStatuses) done(e progress.StepDone) {
	v, now := r.vertex(e.ID), r.now()
	delete(r.vertexes, e.ID)
	_, how := r.tracker.finish(progress.StepDone{ID: e.ID, Cached: e.Cached, Err: e.Err})
	r.tracker.failed = nil // this view doesn't show failed steps again at the end
	v.Completed, v.Cached = &now, e.Cached
	switch how {
	case outcomeCanceled:
		v.Error = "context canceled" // by these words the readers know it
	case outcomeFailed:
		v.Error = short(e.Err)
	}
	r.out.write(solveStatus{Vertexes: []vertex{v}})
}

// warn writes a warning. All of them belong to one vertex, since readers drop those that belong to none.
func (r *solveStatuses) warn(e progress.Warning) {
	var s solveStatus
	if r.checked == "" {
		now := r.now()
		r.checked = r.other("check")
		s.Vertexes = []vertex{{Digest: r.checked, Name: "[internal] load build definition", Started: &now, Completed: &now}}
	}
	text := lines.One(e.Message)
	if e.Rule != "" {
		text = lines.One(e.Rule) + ": " + text
	}
	w := vertexWarning{Vertex: r.checked, Level: 1, Short: []byte(text), URL: e.URL}
	if e.File != "" {
		w.SourceInfo = &sourceInfo{Filename: e.File}
	}
	if e.Line > 0 {
		at := position{Line: e.Line}
		w.Range = []lineRange{{Start: at, End: at}}
	}
	s.Warnings = []vertexWarning{w}
	r.out.write(s)
}
