package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cooperbuild/cooper/internal/patience"
)

// Fruitless is how many attempts in a row may bring nothing.
const Fruitless = 4

// SlowHint is the remedy in errors about a registry that is too slow.
const SlowHint = "try again when the network or the registry is faster, or name a mirror in registries.conf"

// Answer is the JSON body of a server's response, with the headers of it that matter.
type Answer struct {
	Text   []byte
	Header http.Header
}

// errCut says that the body of a response ended before it was complete.
var errCut = errors.New("ends in the middle")

// Ask sends a request for JSON until the answer comes whole. An answer longer than limit bytes is an error,
// and errors of send are returned as they are.
func (p Pace) Ask(ctx context.Context, limit int64, send func() (*http.Response, error)) (Answer, error) {
	begin := p.Now()
	for failed := 1; ; failed++ {
		resp, err := send() //nolint:bodyclose // readAnswer closes it
		if err != nil {
			return Answer{}, err
		}
		a, err := readAnswer(resp, limit)
		if ctx.Err() != nil {
			return Answer{}, context.Cause(ctx)
		}
		if err == nil || errors.Is(err, errTooLong) {
			return a, err
		}
		took := p.Now().Sub(begin)
		if slow := new(patience.SlowError); errors.As(err, &slow) || failed > Fruitless || took >= p.Limits.Idle {
			return Answer{}, fmt.Errorf("%w (tried %d times in %s)\nhint: %s", err, failed, took.Round(time.Second), SlowHint)
		}
		if err := p.Pause(ctx, failed); err != nil {
			return Answer{}, err
		}
	}
}

// errTooLong says that an answer is longer than the limit that Ask was given.
var errTooLong = errors.New("is longer")

func readAnswer(resp *http.Response, limit int64) (a Answer, err error) {
	defer func() { _ = resp.Body.Close() }() // the body has been read, or is given up
	host := resp.Request.URL.Host
	a.Header = resp.Header
	if a.Text, err = io.ReadAll(io.LimitReader(resp.Body, limit+1)); err != nil {
		return a, fmt.Errorf("the answer of %s broke off after %d bytes: %w", host, len(a.Text), err)
	}
	if int64(len(a.Text)) > limit {
		return a, fmt.Errorf("the answer of %s %w than %d bytes", host, errTooLong, limit)
	}
	var none json.RawMessage
	wrong := new(json.SyntaxError)
	if err := json.Unmarshal(a.Text, &none); errors.As(err, &wrong) && wrong.Offset >= int64(len(a.Text)) {
		return a, fmt.Errorf("the answer of %s %w, after %d bytes", host, errCut, len(a.Text))
	}
	return a, nil
}

// Pause waits after a failure, each time twice as long as the time before.
func (p Pace) Pause(ctx context.Context, failed int) error { return p.PauseFor(ctx, failed, 0) }

// PauseFor is Pause, but waits at least for the time that the server has asked for.
func (p Pace) PauseFor(ctx context.Context, failed int, asked time.Duration) error {
	timer := time.NewTimer(max(asked, p.First<<max(0, failed-1)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Watch is a transport that gives up on answers that stand still or come too slowly, whoever reads them.
func (p Pace) Watch(next http.RoundTripper) http.RoundTripper { return watcher{next, p} }

// watcher gives up on answers that stand still or come too slowly, whoever reads them.
type watcher struct {
	next http.RoundTripper
	pace Pace
}

func (w watcher) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	resp, err := w.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &watched{body: resp.Body, cancel: cancel, pace: w.pace, meter: patience.NewMeter(w.pace.Limits)}
	return resp, nil
}

// watched is the body of a response that a watcher observes. The function cancel ends the request.
type watched struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	pace   Pace
	meter  *patience.Meter
}

func (w *watched) Read(p []byte) (int, error) {
	var stalled atomic.Bool
	timer := time.AfterFunc(w.pace.Limits.Stall, func() {
		stalled.Store(true)
		w.cancel()
	})
	start := w.pace.Now()
	n, err := w.body.Read(p)
	timer.Stop()
	if err != nil {
		if stalled.Load() {
			err = fmt.Errorf("nothing came for %s", w.pace.Limits.Stall)
		}
		return n, err
	}
	return n, w.meter.Note(n, w.pace.Now().Sub(start))
}

func (w *watched) Close() error {
	err := w.body.Close()
	w.cancel()
	return err
}
