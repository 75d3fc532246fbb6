package show

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// story is one build with one of everything. tick is called between events.
func story(s progress.Sink, tick func()) {
	for _, e := range []progress.Event{
		progress.Note{Text: "building as alice"},
		progress.StepStarted{ID: 10, Name: "[builder 1/3]", Text: "FROM debian"},
		progress.StepDone{ID: 10, Cached: true, Reason: "same inputs"},
		progress.StepStarted{ID: 11, Name: "[builder 2/3]", Text: "RUN make"},
		progress.StepOutput{ID: 11, Data: []byte("cc a.c\ncc ")},
		progress.StepStarted{ID: 12, Name: "[context]", Text: "load context"},
		progress.Transfer{ID: 12, What: "transferring context", Done: 100, Total: 2000},
		progress.StepOutput{ID: 11, Data: []byte("warning: x\n"), Stderr: true},
		progress.StepOutput{ID: 11, Data: []byte("b.c\n")},
		progress.Transfer{ID: 12, What: "transferring context", Done: 2000, Total: 2000},
		progress.StepDone{ID: 12},
		progress.Warning{File: "Containerfile", Line: 3, Rule: "StageNameCasing", Message: "use lower case"},
		progress.StepDone{ID: 11, Reason: "make.c changed"},
		progress.StepStarted{ID: 13, Name: "[builder 3/3]", Text: "RUN false"},
		progress.StepOutput{ID: 13, Data: []byte("about to \x1b[31mfail\nno newline")},
		progress.StepStarted{ID: 14, Name: "[other 1/1]", Text: "RUN sleep 100"},
		progress.StepDone{ID: 13, Err: errors.New("exit status 1\nsecond line")},
		progress.StepDone{ID: 14, Err: fmt.Errorf("run: %w", context.Canceled)},
	} {
		s.Emit(e)
		tick()
	}
}

func closed(t *testing.T, r progress.Renderer) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	r.Emit(progress.Note{Text: "too late"})
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestPlainShowsTheLinesThatDockerUsersKnow(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	p := newPlain(&out)
	p.tracker = newTracker(c.now)
	story(p, func() { c.add(100 * time.Millisecond) })
	closed(t, p)
	want := `building as alice

#1 [builder 1/3] FROM debian
#1 CACHED

#2 [builder 2/3] RUN make
#2 0.100 cc a.c

#3 [context] load context
#2 0.400 warning: x
#2 0.500 cc b.c
#3 transferring context: 2.00kB done
#3 DONE 0.5s
WARNING: Containerfile:3: StageNameCasing: use lower case
#2 DONE 0.9s (make.c changed)

#4 [builder 3/3] RUN false
#4 0.100 about to fail

#5 [other 1/1] RUN sleep 100
#4 0.300 no newline
#4 ERROR: exit status 1 second line
#5 CANCELED
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestQuietShowsOnlyTheFailedStep(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	q := newQuiet(&out)
	q.tracker = newTracker(c.now)
	story(q, func() { c.add(100 * time.Millisecond) })
	closed(t, q)
	want := `------
 > [builder 3/3] RUN false: exit status 1 second line
0.100 about to fail
0.300 no newline
------
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestJSONIsAnObjectALine(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	r := newJSON(&out)
	r.tracker = newTracker(c.now)
	story(r, func() { c.add(125 * time.Millisecond) })
	r.Emit(progress.StepStarted{ID: 0})
	r.Emit(progress.StepOutput{ID: 0, Data: []byte{0xff}, Stderr: true})
	long := strings.Repeat("é", maxPiece)
	r.Emit(progress.StepOutput{ID: 0, Data: []byte(long)})
	closed(t, r)
	lines := strings.SplitAfter(out.String(), "\n")
	want := `{"time":"2023-11-14T22:13:20Z","type":"note","text":"building as alice"}
{"time":"2023-11-14T22:13:20.125Z","type":"start","id":10,"name":"[builder 1/3]","text":"FROM debian"}
{"time":"2023-11-14T22:13:20.25Z","type":"done","id":10,"seconds":0.125,"cached":true,"reason":"same inputs"}
{"time":"2023-11-14T22:13:20.375Z","type":"start","id":11,"name":"[builder 2/3]","text":"RUN make"}
{"time":"2023-11-14T22:13:20.5Z","type":"output","id":11,"stream":"stdout","text":"cc a.c\ncc "}
{"time":"2023-11-14T22:13:20.625Z","type":"start","id":12,"name":"[context]","text":"load context"}
{"time":"2023-11-14T22:13:20.875Z","type":"output","id":11,"stream":"stderr","text":"warning: x\n"}
{"time":"2023-11-14T22:13:21Z","type":"output","id":11,"stream":"stdout","text":"b.c\n"}
{"time":"2023-11-14T22:13:21.125Z","type":"transfer","id":12,"what":"transferring context","done":2000,"total":2000}
{"time":"2023-11-14T22:13:21.25Z","type":"done","id":12,"seconds":0.625}
{"time":"2023-11-14T22:13:21.375Z","type":"warning","file":"Containerfile","line":3,"rule":"StageNameCasing","message":"use lower case"}
{"time":"2023-11-14T22:13:21.5Z","type":"done","id":11,"seconds":1.125,"reason":"make.c changed"}
{"time":"2023-11-14T22:13:21.625Z","type":"start","id":13,"name":"[builder 3/3]","text":"RUN false"}
{"time":"2023-11-14T22:13:21.75Z","type":"output","id":13,"stream":"stdout","text":"about to \u001b[31mfail\nno newline"}
{"time":"2023-11-14T22:13:21.875Z","type":"start","id":14,"name":"[other 1/1]","text":"RUN sleep 100"}
{"time":"2023-11-14T22:13:22Z","type":"done","id":13,"seconds":0.375,"error":"exit status 1\nsecond line"}
{"time":"2023-11-14T22:13:22.125Z","type":"done","id":14,"seconds":0.25,"error":"run: context canceled","canceled":true}
{"time":"2023-11-14T22:13:22.25Z","type":"start","id":0}
{"time":"2023-11-14T22:13:22.25Z","type":"output","id":0,"stream":"stderr","base64":"/w=="}
`
	if got := strings.Join(lines[:len(lines)-1], ""); !strings.HasPrefix(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	var text strings.Builder
	for _, l := range lines[:len(lines)-1] {
		var e rawEvent
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		if e.Type == "output" && *e.ID == 0 && e.Stream == "stdout" {
			text.WriteString(e.Text)
		}
	}
	if text.String() != long {
		t.Error("output isn't the same after its division into pieces")
	}
}

func TestMemoryIsBoundedByAnyOutput(t *testing.T) {
	for _, mode := range []Mode{ModePlain, ModeQuiet, ModeJSON, ModeRawJSON, ModeTTY} {
		t.Run(string(mode), func(t *testing.T) {
			null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = null.Close() }()
			r := New(mode, null)
			if mode == ModeTTY {
				r = newTTY(ttyOptions{out: null, size: func() (terminal.Size, error) {
					return terminal.Size{Width: 80, Height: 24},
						nil
				}})
			}
			r.Emit(progress.StepStarted{ID: 1})
			w := progress.Writer(r, 1)
			piece := bytes.Repeat([]byte("x"), 1<<20)
			for range 16 {
				_, _ = w.Write(piece)
			}
			line := append(bytes.Repeat([]byte("of no interest "), 30), '\n')
			for range 40000 {
				_, _ = w.Write(line)
			}
			var after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&after)
			if after.HeapAlloc > 8<<20 {
				t.Errorf("%d KiB are in use", after.HeapAlloc>>10)
			}
			r.Emit(progress.StepDone{ID: 1, Err: io.EOF})
			closed(t, r)
		})
	}
}

func TestTwentyStepsCostLessThanTwoMilliseconds(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []Mode{ModePlain, ModeQuiet, ModeJSON, ModeRawJSON, ModeTTY} {
		t.Run(string(mode), func(t *testing.T) {
			out, err := os.Create(filepath.Join(dir, string(mode)))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = out.Close() }()
			best := time.Hour
			for range 20 {
				began := time.Now()
				var r progress.Renderer
				if mode == ModeTTY {
					r = newTTY(ttyOptions{out: out, size: func() (terminal.Size, error) {
						return terminal.Size{Width: 80, Height: 24},
							nil
					}, color: true})
				} else {
					r = New(mode, out)
				}
				for id := range 20 {
					r.Emit(progress.StepStarted{ID: id, Name: fmt.Sprintf("[%d/20]", id), Text: "RUN true"})
					r.Emit(progress.StepOutput{ID: id, Data: []byte("a line\nand another\n")})
					r.Emit(progress.StepDone{ID: id})
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
				best = min(best, time.Since(began))
			}
			t.Logf("%v", best)
			if best > 2*time.Millisecond {
				t.Errorf("20 steps cost %v at best", best)
			}
		})
	}
}

func TestManyGoroutinesMayEmit(t *testing.T) {
	for _, mode := range []Mode{ModePlain, ModeQuiet, ModeJSON, ModeTTY} {
		t.Run(string(mode), func(t *testing.T) {
			var out bytes.Buffer
			renderers := map[Mode]func() progress.Renderer{
				ModePlain: func() progress.Renderer { return newPlain(&out) },
				ModeQuiet: func() progress.Renderer { return newQuiet(&out) },
				ModeJSON:  func() progress.Renderer { return newJSON(&out) },
				ModeTTY: func() progress.Renderer {
					return newTTY(ttyOptions{out: &out,
						size: func() (terminal.Size, error) { return terminal.Size{Width: 80, Height: 24}, nil }})
				},
			}
			// The bubble fails the test if a goroutine is left.
			synctest.Test(t, func(t *testing.T) {
				r := renderers[mode]()
				var group sync.WaitGroup
				for id := range 16 {
					group.Go(func() { printLines(r, id) })
				}
				group.Wait()
				closed(t, r)
			})
			for id := range 16 {
				if want := fmt.Sprintf("step%d line49", id); !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing", want)
				}
			}
		})
	}
}

// printLines is a step that prints 50 lines and fails.
func printLines(r progress.Renderer, id int) {
	r.Emit(progress.StepStarted{ID: id, Text: fmt.Sprintf("RUN step%d", id)})
	for n := range 50 {
		fmt.Fprintf(progress.Writer(r, id), "step%d line%d\n", id, n)
		r.Emit(progress.Transfer{ID: id, What: "x", Done: int64(n)})
	}
	r.Emit(progress.StepDone{ID: id, Err: errors.New("broken")})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriteErrorIsKeptForClose(t *testing.T) {
	for _, r := range []progress.Renderer{
		newPlain(brokenWriter{}), newQuiet(brokenWriter{}), newJSON(brokenWriter{}), newSolveStatuses(brokenWriter{}),
		newTTY(ttyOptions{out: brokenWriter{},
			size: func() (terminal.Size, error) { return terminal.Size{Width: 80, Height: 24}, nil }}),
	} {
		story(r, func() {})
		for range 2 {
			if err := r.Close(); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("%T: got %v", r, err)
			}
		}
	}
}

func TestUnannouncedStepsLoseNothing(t *testing.T) {
	var out bytes.Buffer
	p := newPlain(&out)
	p.Emit(progress.StepOutput{ID: 7, Data: []byte("hello")})
	closed(t, p)
	if want := "#1 0.000 hello\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestModes(t *testing.T) {
	for in, want := range map[string]Mode{"": ModeAuto, "auto": ModeAuto, "plain": ModePlain, "json": ModeJSON,
		"rawjson": ModeRawJSON, "none": ModeQuiet} {
		if got, err := ParseMode(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
	_, err := ParseMode("fancy")
	if want := `progress mode "fancy": must be one of auto, tty, plain, quiet, json, rawjson`; err == nil ||
		err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAllViewsButQuietShowNotes(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	for _, mode := range []Mode{ModeAuto, ModePlain, ModeQuiet, ModeJSON, ModeRawJSON} {
		if got := progress.ShowsNotes(New(mode, null)); got != (mode != ModeQuiet) {
			t.Errorf("%s: %t", mode, got)
		}
	}
	if !progress.ShowsNotes(NewSteps(null, null, "")) {
		t.Error("steps doesn't")
	}
}
