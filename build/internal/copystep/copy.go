package copystep

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/internal/stepinput"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Copy gives the work of a COPY or ADD; done gives the root of a step that was done before.
func (r *Room) Copy(s *plan.Step, op *plan.Copy, done func(*plan.Step) *rootfs.Root) rootfs.Work {
	c := &copying{room: r, op: op, in: r.Inputs.Of(op.From, done), fetched: r.remotes(s, op)}
	c.content = copyDigest{
		in: c.in, known: source.Known{Mounted: !c.in.Local()}, whole: op.Unpack || len(c.fetched) > 0,
		query: source.Query{Patterns: op.Sources, Excludes: op.Excludes, Parents: op.Parents},
	}
	return c
}

// copying is the rootfs.Work of a COPY or ADD.
type copying struct {
	room *Room
	op   *plan.Copy
	in   stepinput.Input
	// fetched are the remote sources of an ADD.
	fetched remotes
	content copyDigest
	// before is the fingerprint of the files that are copied from a context. Exec sets it before it copies; Stable
	// compares it.
	before string
	// from and into are what a later copy needs to link files of this one's layer, if alone says that it can.
	from, into string
	alone      bool
}

func (c *copying) shape() *cache.KeyBuilder { return c.describe(c.room.Inputs.Roots.NewKey("copy")) }

// describe adds to a key all that is known before any file is looked at.
func (c *copying) describe(k *cache.KeyBuilder) *cache.KeyBuilder {
	op := c.op
	k.Add("dest", op.Dest).Add("chown", op.Chown).Add("chmod", op.Chmod)
	k.Add("unpack", strconv.FormatBool(op.Unpack)).Add("sources", op.Sources...).Add("from",
		strconv.Itoa(int(op.From.Kind)))
	k.Add("link", strconv.FormatBool(op.Link)).Add("parents", strconv.FormatBool(op.Parents)).Add("excludes",
		op.Excludes...)
	if len(c.fetched) > 0 {
		k.Add("remotes", c.fetched.shape()...)
	}
	for _, f := range op.Files {
		k.Add("file", f.Path, strconv.FormatUint(uint64(f.Mode), 8), string(f.Data))
	}
	return k
}

func (c *copying) Shape() rootfs.Shape { return rootfs.Shape{Key: c.shape().Key(), Linked: c.op.Link} }

// above gives the shape with the content ID of the root below, unless the layer is linked and doesn't depend on that.
func (c *copying) above(below cache.ContentID) *cache.KeyBuilder {
	if c.op.Link {
		return c.shape()
	}
	return c.shape().Add("below", string(below))
}

// Keys gives a key made of the content of the files and, if they are from a stage or image, before that one made of its
// whole content, which takes no time. The files may stay the same when the stage changes.
func (c *copying) Keys() []rootfs.KeyFunc {
	if c.in.Local() {
		return []rootfs.KeyFunc{c.contentKey}
	}
	return []rootfs.KeyFunc{c.stageKey, c.contentKey}
}

func (c *copying) contentKey(ctx context.Context, below cache.ContentID) (cache.Key, error) {
	d, err := c.content.get(ctx)
	if err != nil {
		return "", err
	}
	contents, err := c.fetched.key(ctx)
	return c.above(below).Add("content", append(contents, d)...).Key(), err
}

func (c *copying) stageKey(ctx context.Context, below cache.ContentID) (cache.Key, error) {
	id, err := c.in.Identity(ctx)
	return c.above(below).Add("stage", id).Key(), err
}

// Recipe is that of [rootfs.Described].
func (c *copying) Recipe(ctx context.Context, below *cache.ContentID) (*cache.Recipe, error) {
	k := c.describe(c.room.Inputs.Roots.NewRecipe("copy"))
	if below == nil {
		return k.Recipe(nil), nil
	}
	if !c.op.Link {
		k.Add("below", string(*below))
	}
	list, err := c.content.list(ctx)
	if err != nil {
		return nil, err
	}
	contents, err := c.fetched.key(ctx)
	if err != nil {
		return nil, err
	}
	for i, content := range contents {
		k.Note("fetched", c.fetched[i].Text, content)
	}
	if list == nil {
		return k.Recipe(nil), nil
	}
	return k.Recipe(map[string]string{c.in.Name(): list.Text()}), nil
}

// watched tells that files are copied that can change meanwhile: those of a local context.
func (c *copying) watched() bool { return c.in.Local() && len(c.op.Sources) > 0 }

// Content is a digest of the files that a COPY or ADD takes, whatever is done with them.
func Content(ctx context.Context, w rootfs.Work) (digest.Digest, error) {
	c, ok := w.(*copying)
	if !ok {
		return "", fmt.Errorf("no copy: %T", w)
	}
	d, err := c.content.get(ctx)
	if err != nil {
		return "", err
	}
	more, err := c.fetched.key(ctx)
	if len(more) == 0 && d != "" {
		return digest.Digest(d), err
	}
	return digest.FromString(strings.Join(append(more, d), " ")), err
}

// Exec makes sure that the content that goes into the key is the content the step saw: the files must be the same ones,
// unchanged, before and after.
func (c *copying) Exec(ctx context.Context, t *rootfs.Staged) (err error) {
	if len(c.op.Sources) == 0 {
		return c.copyFiles(ctx, t, watchers{})
	}
	if !c.in.Local() {
		t.LargeFile = c.content.read
		return c.copyFiles(ctx, t, watchers{largeCopied: c.content.copied})
	}
	t.LargeFile = c.content.read
	// What was looked up in the cache has its digest, and the files are to be those of then.
	if sum, held, ok := c.content.made(); ok {
		c.before = sum
		earlier, done := c.earlier(ctx, held)
		defer done()
		return c.copyFiles(ctx, t, watchers{c.content.copied, earlier})
	}
	if c.before, err = c.content.fingerprint(ctx); err != nil {
		return err
	}
	var hashErr error // set if begin panics: c.content keeps all other errors
	hashed := make(chan struct{})
	go func() {
		defer close(hashed)
		hashErr = guard.Call(func() error { c.content.begin(ctx); return nil })
	}()
	err = c.copyFiles(ctx, t, watchers{largeCopied: c.content.copied})
	<-hashed
	return errors.Join(err, hashErr)
}

func (c *copying) Stable(ctx context.Context) (bool, error) {
	if !c.watched() {
		return true, nil
	}
	after, err := c.content.fingerprint(ctx)
	return after == c.before, err
}

// watchers are LargeCopied and Earlier of fileop.CopyOptions.
type watchers struct {
	largeCopied func(string, *unix.Stat_t, time.Time)
	earlier     *fileop.Earlier
}

// copyFiles copies the files of all sources.
func (c *copying) copyFiles(ctx context.Context, t *rootfs.Staged, w watchers) (err error) {
	r, op, in := c.room, c.op, c.in
	view, err := r.viewForCopy(ctx, t, op)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Release()) }()
	dir, marks := t.Snap.Files()
	o := fileop.CopyOptions{
		Sources: op.Sources, Excludes: op.Excludes, Parents: op.Parents, KeepOwner: !in.Local(), UnpackArchives: op.Unpack,
		Chmod: op.Chmod,
		View:  view.Dir, Layer: dir, Dest: op.Dest, OverlayXattr: marks,
		LargeCopied: w.largeCopied, Earlier: w.earlier,
	}

	for _, f := range op.Files {
		o.Files = append(o.Files, fileop.InlineFile{Path: f.Path, Mode: f.Mode, Data: f.Data})
	}
	if op.Chown != "" {
		owner, err := chownTo(view.Dir, op)
		if err != nil {
			return err
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
		unknown := view.Dir != nil && len(view.Layers) == 0
		o.Shared = fileop.Shared{From: from.Layers, Below: view.Layers, AnyBelow: op.Link || unknown}
	}

	meter := progress.StartMeter(r.Inputs.Roots.Progress, progress.Transfer{ID: t.Step.ID, What: "copying"})
	o.Moved = meter.Add
	res, err := c.fetched.copy(ctx, o)
	meter.Stop()
	err = in.Explain(err, o.Ignore)
	t.WroteFor(res.Owners...)
	c.from, c.into, c.alone = res.From, res.Into, res.Alone
	note := func(text string) {
		if at := t.Step.Location; at.File != "" {
			text = fmt.Sprintf("%s:%d: %s", at.File, at.StartLine, text)
		}
		r.Inputs.Roots.Progress.Emit(progress.Note{Text: text})
	}

	if res.Devices > 0 {
		note(fmt.Sprintf("%d device nodes of the archive are left out: only real root can make them", res.Devices))
	}
	for _, missed := range res.Missed {
		note("nothing is copied for " + missed.Error())
	}

	return err
}

// chownTo gives the owner that --chown names; view is the root that the COPY sees, in which names are looked up.
func chownTo(view *os.File, op *plan.Copy) (fileop.Owner, error) {
	owner, err := fileop.LookupOwner(view, op.Chown)
	if errors.Is(err, fileop.ErrNoSuchUser) {
		remedy := "make the user or group in an earlier RUN of this stage, or give numbers"
		if op.Link {
			remedy = "with --link nothing of the image is looked at: give numbers"
		}
		err = fmt.Errorf("%w\nhint: %s, such as --chown=1000:1000", err, remedy)
	}
	if err != nil {
		return owner, fmt.Errorf("--chown=%s: %w", op.Chown, err)
	}
	return owner, nil
}

// viewForCopy opens the root below as the COPY sees it; with --link there is none.
func (r *Room) viewForCopy(ctx context.Context, t *rootfs.Staged, op *plan.Copy) (snapshot.View, error) {
	if op.Link {
		return snapshot.View{Release: func() error { return nil }}, nil
	}
	return t.Snap.Start(ctx)
}
