package stepinput

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Inputs opens what the steps of a build take files from.
type Inputs struct {
	Roots    *rootfs.Roots
	Contexts *inputs.Contexts
	// Stats keeps the digests of files of contexts that lie on this machine for good.
	Stats *source.StatCache
}

// Of is where a step takes files from; done gives the root of another step, which has ended.
func (i Inputs) Of(from plan.Input, done func(*plan.Step) *rootfs.Root) Input {
	in := Input{inputs: i, from: from}
	if from.Step != nil {
		in.root = done(from.Step)
	}
	return in
}

// Input is where a step takes files from: a context, a stage or an image.
type Input struct {
	inputs Inputs
	from   plan.Input
	// root is that of a stage or image; nil for a context.
	root *rootfs.Root
	// ns is that of the step that the files are for.
	ns rootfs.NS
}

// For is the input as a step in a user namespace sees it, which has its own view of owners.
func (in Input) For(ns rootfs.NS) Input {
	in.ns = ns
	return in
}

// Root is that of a stage or image; nil for a context.
func (in Input) Root() *rootfs.Root { return in.root }

// Name says for people what it is; empty for the main context.
func (in Input) Name() string {
	switch name := in.from.Name; {
	case in.from.Kind == plan.InputStep:
		return "stage " + name
	case in.from.Kind == plan.InputImage:
		return "image " + name
	case name != "":
		return "context " + name
	}
	return ""
}

// Local tells whether the files are those of a context on the host: they are filtered, can change while they are
// looked at, and belong to nobody.
func (in Input) Local() bool { return in.root == nil }

// Opened is an input's directory. The caller calls Release when done with it.
type Opened struct {
	Dir *os.File
	// Mapped says that Dir shows the owners that the step has, and the kernel has mapped them for that.
	Mapped bool
	// Layers are directories that Dir shows stacked: Own of snapshot.View.
	Layers []*os.File
	// Filter is what the ignore file leaves; nil: everything.
	Filter source.Filter
	// fleeting says that the stat cache is of no use for it.
	fleeting bool
	Release  func() error
}

// Open opens its directory; an empty stage has one, too.
func (in Input) Open(ctx context.Context) (o Opened, err error) {
	if !in.Local() {
		view, err := in.inputs.Roots.View(ctx, in.root, in.ns)
		if err != nil {
			return o, err
		}
		o.Dir, o.Mapped, o.Layers, o.Release = view.Dir, view.Mapped, view.Own, view.Release
		if o.Dir == nil { // an empty stage
			o.Dir, o.Release, err = in.inputs.emptyDir(ctx)
		}
		return o, err
	}
	c, err := in.inputs.Contexts.Get(ctx, in.from.Name)
	if err != nil {
		return o, err
	}
	o.Dir, o.fleeting, o.Release = c.Dir.Root(), c.Fleeting, func() error { return nil }
	if ig := c.Dir.Ignore(); ig != nil {
		o.Filter = ig
	}
	return o, nil
}

func (i Inputs) emptyDir(ctx context.Context) (*os.File, func() error, error) {
	path, remove, err := i.Roots.Store.Parts().Scratch.Tree(ctx, "empty")
	if err != nil {
		return nil, nil, err
	}
	dir, err := fsys.OpenDir(path)
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return dir, func() error { return errors.Join(dir.Close(), remove()) }, nil
}

// Identity is what names the input cheaply: the content of a whole stage, nothing for a context.
func (in Input) Identity(ctx context.Context) (string, error) {
	if in.Local() {
		return "", nil
	}
	if err := in.root.WaitKnown(ctx); err != nil {
		return "", err
	}
	return string(in.root.Content()), nil
}

// Digest is the content digest of what patterns select.
func (in Input) Digest(ctx context.Context, patterns []string,
	of func(context.Context, source.DigestOptions) (digest.Digest, error)) (string, error) {
	return in.DigestOf(ctx, source.DigestOptions{Query: source.Query{Patterns: patterns}}, of)
}

// DigestOf is Digest with options, in which the input's own are filled in.
func (in Input) DigestOf(ctx context.Context, o source.DigestOptions,
	of func(context.Context, source.DigestOptions) (digest.Digest, error)) (string, error) {
	from, err := in.Open(ctx)
	if err != nil {
		return "", err
	}
	o.Root, o.Filter, o.WithOwner = from.Dir, from.Filter, !in.Local()
	if in.Local() && !from.fleeting {
		o.Cache = in.inputs.Stats
	}
	d, err := of(ctx, o)
	return string(d), errors.Join(in.Explain(err, from.Filter), from.Release())
}

// Explain is ExplainUnreadable for what is a context.
func (in Input) Explain(err error, filter source.Filter) error {
	if !in.Local() {
		return err
	}
	return ExplainUnreadable(err, filter)
}

// ExplainUnreadable says what can be done about files of a context that whoever builds may not read.
func ExplainUnreadable(err error, filter source.Filter) error {
	if !errors.Is(err, unix.EACCES) {
		return err
	}
	file := "a .dockerignore at the top of the context"
	if ig, ok := filter.(*source.Ignore); ok && ig.Name() != "" {
		file = ig.Name()
	}
	return fmt.Errorf("%w\nhint: the file is in the build context, and you may not read it: change its mode, or leave it out with a line in %s", err, file)
}
