package working

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"sync"
)

// maxOutput is how much output of a command is kept, in bytes. One that writes more is run again each time.
const maxOutput = 8 << 20

// The streams of a command.
const (
	stdout = 1
	stderr = 2
)

// part is a part of a command's output.
type part struct {
	Stream int    `json:"stream"`
	Text   []byte `json:"text"`
}

// recorder keeps what a command writes to its streams, in the order in which it comes. It is safe for concurrent use.
type recorder struct {
	mu    sync.Mutex
	parts []part
	size  int
}

// stream gives a writer that hands on to w and keeps what was written.
func (r *recorder) stream(number int, w io.Writer) io.Writer { return recording{r, number, w} }

type recording struct {
	*recorder
	number int
	to     io.Writer
}

func (r recording) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.add(r.number, p)
	r.mu.Unlock()
	return r.to.Write(p)
}

// add keeps a part, as long as there isn't too much.
func (r *recorder) add(number int, p []byte) {
	if r.size += len(p); r.size > maxOutput {
		r.parts = nil
		return
	}
	if n := len(r.parts); n > 0 && r.parts[n-1].Stream == number {
		r.parts[n-1].Text = append(r.parts[n-1].Text, p...)
		return
	}
	r.parts = append(r.parts, part{number, bytes.Clone(p)})
}

// tooMuch tells whether more was written than is kept.
func (r *recorder) tooMuch() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.size > maxOutput
}

// packed is what was written, as a record has it.
func (r *recorder) packed() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if err := errors.Join(json.NewEncoder(z).Encode(r.parts), z.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// unpack reads what packed has made. The result is false if it can't be read.
func unpack(packed []byte) ([]part, bool) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, false
	}
	var parts []part
	// A part in JSON takes a little more than a third more than its text, and much more only if it is very short.
	text, err := io.ReadAll(io.LimitReader(z, 64*maxOutput))
	if err == nil {
		err = json.Unmarshal(text, &parts)
	}
	return parts, err == nil
}

// replay writes the parts to the streams.
func replay(parts []part, out, errs io.Writer) error {
	for _, p := range parts {
		w := out
		if p.Stream == stderr {
			w = errs
		}
		if _, err := w.Write(p.Text); err != nil {
			return err
		}
	}
	return nil
}
