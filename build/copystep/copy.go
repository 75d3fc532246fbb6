package copystep

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/fileop"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/rootfs"
	"github.com/cooperbuild/cooper/build/source"
	"github.com/cooperbuild/cooper/build/stepinput"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Copy is COPY, or ADD of local files.
func (r *Room) Copy(s *plan.Step, op *plan.Copy, done func(*plan.Step) *rootfs.Root) rootfs.Work {
	in, fetched := r.Inputs.Of(op.From, done), r.remotes(s, op)
	shape := func() *cache.KeyBuilder {
		k := r.Inputs.Roots.NewKey("copy").Add("dest", op.Dest).Add("chown", op.Chown).Add("chmod", op.Chmod)
		k.Add("unpack", strconv.FormatBool(op.Unpack)).Add("sources", op.Sources...).Add("from", strconv.Itoa(int(op.From.Kind)))
		k.Add("link", strconv.FormatBool(op.Link)).Add("parents", strconv.FormatBool(op.Parents)).Add("excludes", op.Excludes...)
		if len(fetched) > 0 {
			k.Add("remotes", fetched.shape()...)
		}
		for _, f := range op.Files {
			k.Add("file", f.Path, strconv.FormatUint(uint64(f.Mode), 8), string(f.Data))
		}
		return k
	}
	above := func(below cache.ContentID) *cache.KeyBuilder {
		if op.Link {
			return shape()
		}
		return shape().Add("below", string(below))
	}
	content := &copyDigest{in: in, whole: op.Unpack || len(fetched) > 0, query: source.Query{Patterns: op.Sources, Excludes: op.Excludes, Parents: op.Parents}}
	w := rootfs.Work{
		Shape:  shape().Key(),
		Linked: op.Link,
		Content: func(ctx context.Context, below cache.ContentID) (cache.Key, error) {
			d, err := content.get()
			if err != nil {
				return "", err
			}
			contents, err := fetched.key(ctx)
			return above(below).Add("content", append(contents, d)...).Key(), err
		},
	}
	if in.Local() {
		w.Key = w.Content
		w.Content = nil
	} else {
		w.Key = func(ctx context.Context, below cache.ContentID) (cache.Key, error) {
			id, err := in.Identity(ctx)
			return above(below).Add("stage", id).Key(), err
		}
	}
	call := copyCall{op: op, in: in, fetched: fetched}
	if in.Local() && len(op.Sources) > 0 {
		call.largeCopied = content.copied
		w.Exec = func(ctx context.Context, t *rootfs.Target) error { return r.copyFiles(ctx, t, call) }
		w.LargeFile = content.read
		r.watch(&w, content)
	} else {
		w.Exec = func(ctx context.Context, t *rootfs.Target) error { return r.copyFiles(ctx, t, call) }
	}
	return w
}

// watch makes sure that the content that goes into the key is the content the step saw: the files must be the same ones,
// unchanged, before and after.
func (r *Room) watch(w *rootfs.Work, content *copyDigest) {
	exec := w.Exec
	var before string
	w.Exec = func(ctx context.Context, t *rootfs.Target) (err error) {
		if before, err = content.fingerprint(ctx); err != nil {
			return err
		}
		var hashErr error // content keeps those that aren't panics
		hashed := make(chan struct{})
		go func() {
			defer close(hashed)
			hashErr = guard.Call(func() error { content.begin(); return nil })
		}()
		err = exec(ctx, t)
		<-hashed
		return errors.Join(err, hashErr)
	}
	w.Stable = func(ctx context.Context) (bool, error) {
		after, err := content.fingerprint(ctx)
		return after == before, err
	}
}

// copyCall is what one COPY needs besides its target.
type copyCall struct {
	op *plan.Copy
	in stepinput.Input
	// fetched are the sources of an ADD that come from elsewhere.
	fetched remotes
	// largeCopied, if not nil, is told of large files; see fileop.CopyOptions.
	largeCopied func(string, *unix.Stat_t, time.Time)
}

func (r *Room) copyFiles(ctx context.Context, t *rootfs.Target, c copyCall) (err error) {
	op, in := c.op, c.in
	view, release, err := r.viewForCopy(ctx, t, op)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	o := fileop.CopyOptions{
		Sources: op.Sources, Excludes: op.Excludes, Parents: op.Parents, KeepOwner: !in.Local(), UnpackArchives: op.Unpack, Chmod: op.Chmod,
		View: view, Layer: t.Snap.Dir(), Dest: op.Dest, OverlayXattr: r.Inputs.Roots.Store.OverlayXattr(),
		LargeCopied: c.largeCopied,
	}
	for _, f := range op.Files {
		o.Files = append(o.Files, fileop.InlineFile{Path: f.Path, Mode: f.Mode, Data: f.Data})
	}
	if op.Chown != "" {
		owner, err := fileop.LookupOwner(view, op.Chown)
		if errors.Is(err, fileop.ErrNoSuchUser) {
			err = fmt.Errorf("%w\nhint: make the user or group in an earlier RUN of this stage, or give numbers, such as --chown=1000:1000", err)
		}
		if err != nil {
			return fmt.Errorf("--chown=%s: %w", op.Chown, err)
		}
		o.Chown = &owner
	}
	if len(op.Sources) > 0 {
		from, openErr := in.Open(ctx)
		if openErr != nil {
			return openErr
		}
		defer func() { err = errors.Join(err, from.Release()) }()
		o.Source, o.Ignore = from.Dir, from.Filter
	}
	meter := progress.StartMeter(r.Inputs.Roots.Progress, progress.Transfer{ID: t.Step.ID, What: "copying"})
	o.Moved = meter.Add
	res, err := c.fetched.copy(ctx, o)
	meter.Stop()
	err = in.Explain(err, o.Ignore)
	t.WroteFor(res.Owners...)
	note := func(text string) {
		r.Inputs.Roots.Progress.Emit(progress.Note{Text: fmt.Sprintf("%s:%d: %s", t.Step.Location.File, t.Step.Location.StartLine, text)})
	}
	if res.Devices > 0 {
		note(fmt.Sprintf("%d device nodes of the archive are left out: only real root can make them", res.Devices))
	}
	for _, missed := range res.Missed {
		note("nothing is copied for " + missed.Error())
	}
	return err
}

// viewForCopy is what a COPY sees of the files below: nothing with --link.
func (r *Room) viewForCopy(ctx context.Context, t *rootfs.Target, op *plan.Copy) (*os.File, func() error, error) {
	if op.Link {
		return nil, func() error { return nil }, nil
	}
	return r.Inputs.Roots.ViewBelow(ctx, t)
}
