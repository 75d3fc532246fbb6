package objects

import (
	"context"
	"fmt"
	"io"
	"time"
)

// watch gives a request up that brings and takes nothing for too long.
type watch struct {
	ctx    context.Context //nolint:containedctx // it is that of the one request it watches
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// errStalled says that a request was given up. It isn't tried again: that would take as long once more.
var errStalled = fmt.Errorf("nothing came for %s", stall)

func newWatch(outer context.Context) *watch {
	w := &watch{}
	w.ctx, w.cancel = context.WithCancelCause(outer)
	w.timer = time.AfterFunc(stall, func() { w.cancel(errStalled) })
	return w
}

// moved says that something came or went.
func (w *watch) moved() { w.timer.Reset(stall) }

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// explain is why a request has failed: the error, or what the watch was stopped for.
func (w *watch) explain(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return err
}

// watchedReader is a request's body.
type watchedReader struct {
	from  io.Reader
	watch *watch
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.watch.moved()
	return n, err
}

// watchedBody is an answer's body.
type watchedBody struct {
	io.ReadCloser
	watch *watch
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.watch.moved()
	if err != nil && err != io.EOF { //nolint:errorlint // a body gives io.EOF itself
		err = b.watch.explain(err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	b.watch.stop()
	return err
}
