package progress

import (
	"fmt"
	"io"
	"time"

	"github.com/cooperbuild/cooper/build/progress/lines"
	"github.com/cooperbuild/cooper/network/policy"
)

// An Event is one thing that happened in a build: [StepStarted], [StepOutput], [Transfer], [StepUsed], [StepTalked],
// [Explained], [StepDone], [Planned], [Warning] or [Note].
type Event interface{ event() }

// StepStarted says that a step began. It is emitted for cached steps too, just before their StepDone.
type StepStarted struct {
	// ID names the step in later events. Any number does, but each at most once in a build.
	ID int
	// Name places the step, as in "[builder 3/7]". Text is the instruction, without secrets.
	Name, Text string
	// For are the platforms of the images that need the step, as in Planned.Platforms; none: all do.
	For []string
}

// StepOutput is a piece of the output of a step.
type StepOutput struct {
	ID int
	// Data is any piece of the stream, lines broken anywhere. It is valid during Emit only.
	Data []byte
	// Stderr tells the streams apart; lines of the two are put together separately.
	Stderr bool
}

// Transfer says how far a step has come with moving bytes.
type Transfer struct {
	ID int
	// What says what is moved, as in "transferring context" or "sha256:1f2e...". It identifies the transfer in its step.
	What string
	// Done and Total are bytes; a Total of 0 or less is unknown. A transfer is finished when Done reaches Total.
	Done, Total int64
	// Files is the number of files that were moved; 0 if the transfer isn't one of files.
	Files int64
}

// StepUsed says what a step took of the machine, when its command has ended.
type StepUsed struct {
	ID int
	// Memory is the most bytes that it had in memory, Read and Wrote are bytes from and to disks.
	Memory, Read, Wrote int64
	// CPU is processor time.
	CPU time.Duration
}

// StepTalked says whom a step has talked to, before its StepUsed. Only steps with a private network tell.
type StepTalked struct {
	ID      int
	Traffic []policy.Traffic
}

// StepDone says that a step ended; no event with its ID follows.
type StepDone struct {
	ID int
	// Cached says that the step was not run.
	Cached bool
	// Err is why the step failed; nil if it didn't. context.Canceled shows as canceled, not as a failure.
	Err error
	// Reason says in a few words why the step ran, or why it needn't run. It may be empty.
	Reason string
}

// Explained says why a step runs, or why it needn't. It comes between the step's StepStarted and StepDone.
type Explained struct {
	ID   int
	Text string
	// Reason is the same for programs, as a value that package json encodes; nil: there is none.
	Reason any
}

// Warning is a remark on the Dockerfile.
type Warning struct {
	File string
	// Line counts from 1; 0 means the file as a whole.
	Line int
	// Rule is the lint rule's name, URL its page; both may be empty.
	Rule, Message, URL string
}

// Note is a line for the user that belongs to no step.
type Note struct {
	Text string
	// Tagged is the name that the note says the image has got in the store; empty: it says something else.
	Tagged string
}

func (StepStarted) event() {}
func (StepOutput) event()  {}
func (Transfer) event()    {}
func (StepUsed) event()    {}
func (StepTalked) event()  {}
func (StepDone) event()    {}
func (Explained) event()   {}
func (Warning) event()     {}
func (Note) event()        {}

// String is the warning on one line, as in "Containerfile:3: StageNameCasing: message (https://page)".
func (w Warning) String() string {
	text := lines.One(w.Message)
	if w.Rule != "" {
		text = lines.One(w.Rule) + ": " + text
	}
	if w.URL != "" {
		text += " (" + lines.One(w.URL) + ")"
	}
	switch {
	case w.File != "" && w.Line > 0:
		return fmt.Sprintf("%s:%d: %s", lines.One(w.File), w.Line, text)
	case w.File != "":
		return lines.One(w.File) + ": " + text
	}
	return text
}

// A Sink takes events. Emit may be called from several goroutines; it doesn't keep the memory of the event.
type Sink interface{ Emit(Event) }

// A Renderer shows events. Close shows what is still to be shown, waits for all of its goroutines and gives the first
// write error; it may be called again. Events after Close are dropped.
type Renderer interface {
	Sink
	Close() error
}

// Writer makes a writer that emits all it is given as standard output of the step id. Its Write never fails.
func Writer(sink Sink, id int) io.Writer { return writer{sink: sink, id: id} }

// StderrWriter is Writer for standard error.
func StderrWriter(sink Sink, id int) io.Writer { return writer{sink: sink, id: id, stderr: true} }

type writer struct {
	sink   Sink
	id     int
	stderr bool
}

var _ io.Writer = writer{}

func (w writer) Write(p []byte) (int, error) {
	if len(p) > 0 {
		w.sink.Emit(StepOutput{ID: w.id, Data: p, Stderr: w.stderr})
	}
	return len(p), nil
}

// Discard is a renderer that shows nothing at all.
type Discard struct{}

var _ Renderer = Discard{}

// Emit drops the event.
func (Discard) Emit(Event) {}

// Close does nothing.
func (Discard) Close() error { return nil }

// ShowsNotes is false.
func (Discard) ShowsNotes() bool { return false }
