package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cooperbuild/cooper/build/internal/patience"
)

// slowHint is the remedy in errors about a registry that is too slow.
const slowHint = "try again when the network or the registry is faster, or name a mirror in registries.conf"

// answer is the JSON body of a server's response, with the headers of it that matter.
type answer struct {
	text   []byte
	header http.Header
}

// errCut says that the body of a response ended before it was complete.
var errCut = errors.New("ends in the middle")

// ask sends a request for JSON until the answer comes whole. An answer longer than limit bytes is an error,
// and errors of send are returned as they are.
func (p pace) ask(ctx context.Context, limit int64, send func() (*http.Response, error)) (answer, error) {
	begin := p.now()
	for failed := 1; ; failed++ {
		resp, err := send() //nolint:bodyclose // readAnswer closes it
		if err != nil {
			return answer{}, err
		}
		a, err := readAnswer(resp, limit)
		if ctx.Err() != nil {
			return answer{}, context.Cause(ctx)
		}
		if err == nil || errors.Is(err, errTooLong) {
			return a, err
		}
		took := p.now().Sub(begin)
		if slow := new(patience.SlowError); errors.As(err, &slow) || failed > fruitless || took >= p.limits.Idle {
			return answer{}, fmt.Errorf("%w (tried %d times in %s)\nhint: %s", err, failed, took.Round(time.Second), slowHint)
		}
		if err := p.pause(ctx, failed); err != nil {
			return answer{}, err
		}
	}
}

// errTooLong says that an answer is longer than the limit that ask was given.
var errTooLong = errors.New("is longer")

func readAnswer(resp *http.Response, limit int64) (a answer, err error) {
	defer func() { _ = resp.Body.Close() }() // the body has been read, or is given up
	host := resp.Request.URL.Host
	a.header = resp.Header
	if a.text, err = io.ReadAll(io.LimitReader(resp.Body, limit+1)); err != nil {
		return a, fmt.Errorf("the answer of %s broke off after %d bytes: %w", host, len(a.text), err)
	}
	if int64(len(a.text)) > limit {
		return a, fmt.Errorf("the answer of %s %w than %d bytes", host, errTooLong, limit)
	}
	var none json.RawMessage
	wrong := new(json.SyntaxError)
	if err := json.Unmarshal(a.text, &none); errors.As(err, &wrong) && wrong.Offset >= int64(len(a.text)) {
		return a, fmt.Errorf("the answer of %s %w, after %d bytes", host, errCut, len(a.text))
	}
	return a, nil
}

// pause waits after a failure, each time twice as long as the time before.
func (p pace) pause(ctx context.Context, failed int) error { return p.pauseFor(ctx, failed, 0) }

// pauseFor is pause, but waits at least for the time that the server has asked for.
func (p pace) pauseFor(ctx context.Context, failed int, asked time.Duration) error {
	timer := time.NewTimer(max(asked, p.first<<max(0, failed-1)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// watcher gives up on answers that stand still or come too slowly, whoever reads them.
type watcher struct {
	next http.RoundTripper
	pace pace
}

func (w watcher) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	resp, err := w.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &watched{body: resp.Body, cancel: cancel, pace: w.pace, meter: patience.NewMeter(w.pace.limits)}
	return resp, nil
}

// watched is the body of a response that a watcher observes. The function cancel ends the request.
type watched struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	pace   pace
	meter  *patience.Meter
}

func (w *watched) Read(p []byte) (int, error) {
	var stalled atomic.Bool
	timer := time.AfterFunc(w.pace.limits.Stall, func() {
		stalled.Store(true)
		w.cancel()
	})
	start := w.pace.now()
	n, err := w.body.Read(p)
	timer.Stop()
	if err != nil {
		if stalled.Load() {
			err = fmt.Errorf("nothing came for %s", w.pace.limits.Stall)
		}
		return n, err
	}
	return n, w.meter.Note(n, w.pace.now().Sub(start))
}

func (w *watched) Close() error {
	err := w.body.Close()
	w.cancel()
	return err
}
