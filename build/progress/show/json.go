package show

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/lines"
)

const (
	// maxPiece is how many bytes of output one object carries, at most.
	maxPiece = 32 << 10
	// transferJSONEvery is how often json and rawjson show a transfer.
	transferJSONEvery = 100 * time.Millisecond
)

// rawEvent is one object. The fields' meaning is in the package documentation.
type rawEvent struct {
	Time     time.Time `json:"time"`
	Type     string    `json:"type"`
	ID       *int      `json:"id,omitempty"`
	Name     string    `json:"name,omitempty"`
	Stream   string    `json:"stream,omitempty"`
	Text     string    `json:"text,omitempty"`
	Base64   []byte    `json:"base64,omitempty"`
	What     string    `json:"what,omitempty"`
	Done     int64     `json:"done,omitempty"`
	Total    int64     `json:"total,omitempty"`
	Files    int64     `json:"files,omitempty"`
	Seconds  *float64  `json:"seconds,omitempty"`
	Memory   int64     `json:"memory,omitempty"`
	CPU      *float64  `json:"cpu,omitempty"`
	Read     int64     `json:"read,omitempty"`
	Wrote    int64     `json:"wrote,omitempty"`
	Cached   bool      `json:"cached,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Error    string    `json:"error,omitempty"`
	Canceled bool      `json:"canceled,omitempty"`
	File     string    `json:"file,omitempty"`
	Line     int       `json:"line,omitempty"`
	Rule     string    `json:"rule,omitempty"`
	Message  string    `json:"message,omitempty"`
	URL      string    `json:"url,omitempty"`
	Why      any       `json:"why,omitempty"`
}

// jsonLines writes an object a line as things happen.
type jsonLines struct {
	mu      sync.Mutex
	out     jsonOut
	tracker tracker
	closed  bool
}

var _ progress.Renderer = (*jsonLines)(nil)

func newJSON(out io.Writer) *jsonLines {
	return &jsonLines{out: jsonOut{w: out}, tracker: newTracker(nil)}
}

// Emit implements progress.Sink. It waits for the write.
func (r *jsonLines) Emit(e progress.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}

	switch e := e.(type) {
	case progress.StepStarted:
		r.tracker.start(progress.StepStarted{ID: e.ID})
		r.write(rawEvent{Type: "start", ID: &e.ID, Name: e.Name, Text: e.Text})
	case progress.StepOutput:
		r.output(e)
	case progress.Transfer:
		r.transfer(e)
	case progress.StepUsed:
		cpu := e.CPU.Seconds()
		r.write(rawEvent{Type: "used", ID: &e.ID, Memory: e.Memory, CPU: &cpu, Read: e.Read, Wrote: e.Wrote})
	case progress.Explained:
		r.write(rawEvent{Type: "why", ID: &e.ID, Text: e.Text, Why: e.Reason})
	case progress.StepDone:
		s, how := r.tracker.finish(progress.StepDone{ID: e.ID, Cached: e.Cached, Err: e.Err})
		// This view doesn't show failed steps again at the end.
		r.tracker.failed = nil
		seconds := r.tracker.elapsed(s).Seconds()
		raw := rawEvent{Type: "done", ID: &e.ID, Seconds: &seconds, Cached: e.Cached, Reason: e.Reason}
		if e.Err != nil {
			raw.Error, raw.Canceled = e.Err.Error(), how == outcomeCanceled
		}
		r.write(raw)
	case progress.Warning:
		r.write(rawEvent{Type: "warning", File: e.File, Line: e.Line, Rule: e.Rule, Message: e.Message, URL: e.URL})
	case progress.Note:
		r.write(rawEvent{Type: "note", Text: e.Text})
	}
}

// Close implements progress.Renderer.
func (r *jsonLines) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.out.err
}

func (r *jsonLines) output(e progress.StepOutput) {
	raw := rawEvent{Type: "output", ID: &e.ID, Stream: "stdout"}
	if e.Stderr {
		raw.Stream = "stderr"
	}
	for data := e.Data; len(data) > 0; {
		piece := data
		if len(piece) > maxPiece {
			piece = piece[:maxPiece]
			piece = piece[:len(piece)-lines.Incomplete(piece)]
		}
		data = data[len(piece):]
		raw.Text, raw.Base64 = "", nil
		if utf8.Valid(piece) {
			raw.Text = string(piece)
		} else {
			raw.Base64 = piece
		}
		r.write(raw)
	}
}

func (r *jsonLines) transfer(e progress.Transfer) {
	if r.tracker.due(e, transferJSONEvery) != nil {
		r.write(rawEvent{Type: "transfer", ID: &e.ID, What: e.What, Done: e.Done, Total: max(e.Total, 0), Files: e.Files})
	}
}

func (r *jsonLines) write(e rawEvent) {
	e.Time = r.tracker.now().UTC()
	r.out.write(e)
}

// jsonOut writes a value a line, until a write fails.
type jsonOut struct {
	w   io.Writer
	err error
}

func (o *jsonOut) write(v any) {
	if o.err != nil {
		return
	}
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	if err == nil {
		_, err = o.w.Write(escapeHidden(line.Bytes()))
	}
	if err != nil {
		o.err = fmt.Errorf("write progress: %w", err)
	}
}

// escapeHidden replaces characters in JSON that are invisible, or change how others are shown, by escapes, which mean
// the same: the JSON may be looked at on a terminal.
func escapeHidden(text []byte) []byte {
	hidden := func(r rune) bool { return r != '\n' && !lines.Visible(r) }
	if bytes.IndexFunc(text, hidden) < 0 {
		return text
	}
	out := make([]byte, 0, len(text)+64)
	for _, r := range string(text) {
		switch {
		case !hidden(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
