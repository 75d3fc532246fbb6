package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/fileop"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/rootfs"
	"github.com/cooperbuild/cooper/build/source"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
)

// workdirWork makes sure that a directory exists.
func (b *builder) workdirWork(op *plan.Workdir) rootfs.Work {
	shape := func() *cache.KeyBuilder { return b.roots.NewKey("workdir").Add("path", op.Path).Add("user", op.User) }
	return rootfs.Work{
		Shape: shape().Key(),
		Key: func(_ context.Context, below cache.ContentID) (cache.Key, error) {
			return shape().Add("below", string(below)).Key(), nil
		},
		Exec: func(ctx context.Context, t *rootfs.Target) error { return b.mkdir(ctx, t, op.Path, op.User) },
	}
}

// mkdir makes a directory for a user, and those above it, where they are missing.
func (b *builder) mkdir(ctx context.Context, t *rootfs.Target, path, user string) error {
	view, release, err := b.roots.ViewBelow(ctx, t)
	if err != nil {
		return err
	}
	owner, err := workdirOwner(view, user)
	if err == nil {
		_, err = fileop.Mkdir(ctx, fileop.MkdirOptions{
			View: view, Layer: t.Snap.Dir(), Path: path, Owner: owner, OverlayXattr: b.store.OverlayXattr(),
		})
		t.WroteFor(owner)
	}
	return errors.Join(err, release())
}

// workdirOwner is who owns a directory that WORKDIR makes: the user of the steps that follow, as --chown would read it.
// What isn't in the image is root: unlike a step, a directory can do without the user.
func workdirOwner(view *os.File, spec string) (fileop.Owner, error) {
	var owner fileop.Owner
	user, group, _ := strings.Cut(spec, ":")
	if user != "" {
		o, err := fileop.LookupOwner(view, user)
		if err != nil && !errors.Is(err, fileop.ErrNoSuchUser) {
			return owner, fmt.Errorf("USER %s: %w", spec, err)
		}
		owner = o
	}
	if group != "" {
		o, err := fileop.LookupOwner(view, ":"+group)
		if err != nil && !errors.Is(err, fileop.ErrNoSuchUser) {
			return owner, fmt.Errorf("USER %s: %w", spec, err)
		}
		if err == nil {
			owner.GID = o.GID
		}
	}
	return owner, nil
}

// input is where a step takes files from.
type input struct {
	b    *builder
	from plan.Input
	root *rootfs.Root // of a stage or image
	// ns is that of the step that the files are for, which sees owners in its own way.
	ns rootfs.NS
	// fetched are the sources of an ADD that come from elsewhere.
	fetched remotes
}

func (b *builder) input(from plan.Input, done func(*plan.Step) *rootfs.Root) input {
	in := input{b: b, from: from}
	if from.Step != nil {
		in.root = done(from.Step)
	}
	return in
}

// local tells whether the files are those of a context on the host: they are filtered, can change while they are
// looked at, and belong to nobody.
func (in input) local() bool { return in.root == nil }

// opened is an input's directory. The caller calls release when done with it.
type opened struct {
	dir    *os.File
	filter source.Filter
	// fleeting says that the stat cache is of no use for it.
	fleeting bool
	release  func() error
}

func (in input) open(ctx context.Context) (o opened, err error) {
	if !in.local() {
		o.dir, o.release, err = in.b.roots.View(ctx, in.root, in.ns)
		if err == nil && o.dir == nil { // an empty stage
			o.dir, o.release, err = in.b.emptyDir(ctx)
		}
		return o, err
	}
	c, err := in.b.contexts.Get(ctx, in.from.Name)
	if err != nil {
		return o, err
	}
	o.dir, o.fleeting, o.release = c.Dir.Root(), c.Fleeting, func() error { return nil }
	if ig := c.Dir.Ignore(); ig != nil {
		o.filter = ig
	}
	return o, nil
}

func (b *builder) emptyDir(ctx context.Context) (*os.File, func() error, error) {
	path, remove, err := b.store.TempTree(ctx, "empty")
	if err != nil {
		return nil, nil, err
	}
	dir, err := fsys.OpenDir(path)
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return dir, func() error { return errors.Join(dir.Close(), remove()) }, nil
}

// identity is what names the input cheaply: the content of a whole stage, nothing for a context.
func (in input) identity(ctx context.Context) (string, error) {
	if in.local() {
		return "", nil
	}
	if err := in.root.WaitKnown(ctx); err != nil {
		return "", err
	}
	return string(in.root.Content()), nil
}

// digest is the content digest of what patterns select.
func (in input) digest(ctx context.Context, patterns []string, of func(context.Context, source.DigestOptions) (digest.Digest, error)) (string, error) {
	return in.digestOf(ctx, source.DigestOptions{Query: source.Query{Patterns: patterns}}, of)
}

// digestOf is digest with options, in which the input's own are filled in.
func (in input) digestOf(ctx context.Context, o source.DigestOptions, of func(context.Context, source.DigestOptions) (digest.Digest, error)) (string, error) {
	from, err := in.open(ctx)
	if err != nil {
		return "", err
	}
	o.Root, o.Filter, o.WithOwner = from.dir, from.filter, !in.local()
	if in.local() && !from.fleeting {
		o.Cache = in.b.stats
	}
	d, err := of(ctx, o)
	return string(d), errors.Join(in.explain(err, from.filter), from.release())
}

func (in input) explain(err error, filter source.Filter) error {
	if !in.local() {
		return err
	}
	return explainUnreadable(err, filter)
}

// explainUnreadable says what can be done about files of a context that whoever builds may not read.
func explainUnreadable(err error, filter source.Filter) error {
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	file := "a .dockerignore at the top of the context"
	if ig, ok := filter.(*source.Ignore); ok && ig.Name() != "" {
		file = ig.Name()
	}
	return fmt.Errorf("%w\nhint: the file is in the build context, and you may not read it: change its mode, or leave it out with a line in %s", err, file)
}

// copyWork is COPY, or ADD of local files.
func (b *builder) copyWork(s *plan.Step, op *plan.Copy, done func(*plan.Step) *rootfs.Root) rootfs.Work {
	in := b.input(op.From, done)
	in.fetched = b.remotes(s, op)
	shape := func() *cache.KeyBuilder {
		k := b.roots.NewKey("copy").Add("dest", op.Dest).Add("chown", op.Chown).Add("chmod", op.Chmod)
		k.Add("unpack", strconv.FormatBool(op.Unpack)).Add("sources", op.Sources...).Add("from", strconv.Itoa(int(op.From.Kind)))
		k.Add("link", strconv.FormatBool(op.Link)).Add("parents", strconv.FormatBool(op.Parents)).Add("excludes", op.Excludes...)
		if len(in.fetched) > 0 {
			k.Add("remotes", in.fetched.shape()...)
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
	content := &copyDigest{in: in, whole: op.Unpack || len(in.fetched) > 0, query: source.Query{Patterns: op.Sources, Excludes: op.Excludes, Parents: op.Parents}}
	w := rootfs.Work{
		Shape:  shape().Key(),
		Linked: op.Link,
		Content: func(ctx context.Context, below cache.ContentID) (cache.Key, error) {
			d, err := content.get()
			if err != nil {
				return "", err
			}
			fetched, err := in.fetched.key(ctx)
			return above(below).Add("content", append(fetched, d)...).Key(), err
		},
	}
	if in.local() {
		w.Key = w.Content
		w.Content = nil
	} else {
		w.Key = func(ctx context.Context, below cache.ContentID) (cache.Key, error) {
			id, err := in.identity(ctx)
			return above(below).Add("stage", id).Key(), err
		}
	}
	if in.local() && len(op.Sources) > 0 {
		w.Exec = func(ctx context.Context, t *rootfs.Target) error { return b.copyFiles(ctx, t, op, in, content.copied) }
		w.LargeFile = content.read
		b.watch(&w, content)
	} else {
		w.Exec = func(ctx context.Context, t *rootfs.Target) error { return b.copyFiles(ctx, t, op, in, nil) }
	}
	return w
}

// watch makes sure that the content that goes into the key is the content the step saw: the files must be the same ones,
// unchanged, before and after.
func (b *builder) watch(w *rootfs.Work, content *copyDigest) {
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

func (b *builder) copyFiles(ctx context.Context, t *rootfs.Target, op *plan.Copy, in input, largeCopied func(string, *unix.Stat_t, time.Time)) (err error) {
	view, release, err := b.viewForCopy(ctx, t, op)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	o := fileop.CopyOptions{
		Sources: op.Sources, Excludes: op.Excludes, Parents: op.Parents, KeepOwner: !in.local(), UnpackArchives: op.Unpack, Chmod: op.Chmod,
		View: view, Layer: t.Snap.Dir(), Dest: op.Dest, OverlayXattr: b.store.OverlayXattr(),
		LargeCopied: largeCopied,
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
		from, openErr := in.open(ctx)
		if openErr != nil {
			return openErr
		}
		defer func() { err = errors.Join(err, from.release()) }()
		o.Source, o.Ignore = from.dir, from.filter
	}
	meter := progress.StartMeter(b.req.Progress, progress.Transfer{ID: t.Step.ID, What: "copying"})
	o.Moved = meter.Add
	res, err := in.fetched.copy(ctx, o)
	meter.Stop()
	err = in.explain(err, o.Ignore)
	t.WroteFor(res.Owners...)
	note := func(text string) {
		b.req.Progress.Emit(progress.Note{Text: fmt.Sprintf("%s:%d: %s", t.Step.Location.File, t.Step.Location.StartLine, text)})
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
func (b *builder) viewForCopy(ctx context.Context, t *rootfs.Target, op *plan.Copy) (*os.File, func() error, error) {
	if op.Link {
		return nil, func() error { return nil }, nil
	}
	return b.roots.ViewBelow(ctx, t)
}
