package working

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/copystep"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/internal/store/containers"
	"github.com/cooperbuild/cooper/build/plan"
)

// Copy says what is copied into a container.
type Copy struct {
	// Sources are paths and patterns: of this machine, below ContextDir if that isn't empty, or below the root of From.
	// With Add, URLs and git repositories too.
	Sources []string
	// Dest is below the container's working directory if it isn't absolute; empty: that directory.
	Dest string
	// Add unpacks archives, and fetches what isn't on this machine.
	Add bool
	// ContextDir is a directory that nothing is copied from outside of. IgnoreFile names what in it is left out.
	ContextDir, IgnoreFile string
	// From is a working container or an image.
	From string
	// Find says how the image is found.
	Find Find
	// Chown and Chmod are as in COPY.
	Chown, Chmod string
	// Excludes are patterns of what is left out.
	Excludes []string
	// Parents keeps the directories that a source is in.
	Parents bool
	// Checksum is that of the only source, which is a URL or a repository.
	Checksum string
	// AddHistory adds the copy to the image's history.
	AddHistory bool
	// Quiet says that nobody wants the digest.
	Quiet bool
}

// hostFiles is the name of the context of what is copied.
const hostFiles = "host"

// Copy copies files into the container, and gives the digest of their content; empty with Quiet.
func (c *Container) Copy(ctx context.Context, o Options, what Copy) (d digest.Digest, err error) {
	defer func() { err = c.session.Explain(err) }()
	e, err := c.engine(ctx, o)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	op, err := c.copyOp(what)
	if err != nil {
		return "", err
	}
	done, err := e.source(ctx, what, op)
	if err != nil {
		return "", err
	}
	s := &plan.Step{Text: what.verb() + " " + strings.Join(append(slices.Clone(what.Sources), op.Dest), " ")}
	w := e.copies().Copy(s, op, done)
	if o.Cached && !e.shared {
		below, err := e.seal(ctx)
		if err != nil {
			return "", err
		}
		cached, err := e.step(ctx, s, w, below)
		if err != nil {
			return "", err
		}
		e.tell(cached, s.Text)
	} else {
		if err := e.copyHere(ctx, s, w); err != nil {
			return "", err
		}
		e.tell(false, s.Text)
	}
	if what.Quiet && !what.AddHistory {
		return "", nil
	}
	if d, err = copystep.Content(ctx, w); err != nil || !what.AddHistory {
		return d, err
	}
	c.State.Note(fmt.Sprintf("/bin/sh -c #(nop) %s %s in %s", strings.ToUpper(what.verb()), d, op.Dest), now())
	return d, c.Save()
}

func (what Copy) verb() string {
	if what.Add {
		return "add"
	}
	return "copy"
}

// copyHere copies into the container's own layer.
func (e *engine) copyHere(ctx context.Context, s *plan.Step, w rootfs.Work) error {
	staged, adopted, err := e.adopt(s)
	if err != nil {
		return err
	}
	return errors.Join(w.Exec(ctx, staged), adopted.Remove())
}

// errNoSource says that there is nothing to copy.
var errNoSource = errors.New("no file was given to copy\nhint: cooper copy CONTAINER SOURCE... DESTINATION")

// copyOp is the copy without what its sources are below.
func (c *Container) copyOp(what Copy) (*plan.Copy, error) {
	if len(what.Sources) == 0 {
		return nil, errNoSource
	}
	op := &plan.Copy{Unpack: what.Add, Excludes: what.Excludes, Parents: what.Parents, Chown: what.Chown,
		Chmod: what.Chmod}
	dir := what.Dest == "" || strings.HasSuffix(what.Dest, "/") || strings.HasSuffix(what.Dest, "/.") ||
		what.Dest == "." || len(what.Sources) > 1
	if op.Dest = path.Clean(what.Dest); !path.IsAbs(what.Dest) {
		op.Dest = path.Join(c.State.Image.Dir(), what.Dest)
	}
	if dir && op.Dest != "/" {
		op.Dest += "/"
	}
	for _, src := range what.Sources {
		remote, is, err := plan.ReadRemote(src, what.Checksum)
		switch {
		case err != nil:
			return nil, err
		case !is:
			op.Sources = append(op.Sources, src)
			continue
		case !what.Add:
			return nil, fmt.Errorf("copy takes no URL: %s\nhint: cooper add does", remote.Text)
		}
		remote.Before = len(op.Sources)
		op.Remotes = append(op.Remotes, remote)
	}
	return op, nil
}

// source opens what the copy takes files from, and gives the roots of images and containers.
func (e *engine) source(ctx context.Context, what Copy, op *plan.Copy) (func(*plan.Step) *rootfs.Root, error) {
	if what.From != "" {
		root, err := e.other(ctx, what)
		op.From = plan.Input{Kind: plan.InputStep, Name: what.From, Step: &plan.Step{}}
		return func(*plan.Step) *rootfs.Root { return root }, err
	}
	op.From = plan.Input{Kind: plan.InputContext, Name: hostFiles}
	dir, ignore, err := what.context(op)
	if err != nil {
		return nil, err
	}
	opened, err := source.OpenDir(dir, ignore)
	if err != nil {
		return nil, err
	}
	e.contexts.Put(hostFiles, opened)
	return nil, nil //nolint:nilnil // without steps there are no roots to be had
}

// context is the directory that the sources are below, and what is left out of it. Without a context directory the
// sources may be anywhere on this machine: they are below its root.
func (what Copy) context(op *plan.Copy) (dir string, ignore *source.Ignore, err error) {
	if what.ContextDir != "" {
		if what.IgnoreFile != "" {
			if ignore, err = readIgnore(what.IgnoreFile); err != nil {
				return "", nil, err
			}
		}
		return what.ContextDir, ignore, nil
	}
	if what.IgnoreFile != "" {
		return "", nil, errors.New("--ignorefile says what of a directory is left out\nhint: give that with --contextdir")
	}
	here, err := os.Getwd()
	if err != nil {
		return "", nil, err
	}
	for i, src := range op.Sources {
		if filepath.IsAbs(src) {
			continue
		}
		keep := ""
		if strings.HasSuffix(src, "/") {
			keep = "/"
		}
		op.Sources[i] = filepath.Join(literal(here), src) + keep
	}
	return "/", nil, nil
}

// literal is the pattern that matches only the path itself.
func literal(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func readIgnore(name string) (_ *source.Ignore, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--ignorefile: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return source.ParseIgnore(name, f)
}

// other is the root of another container, or of an image.
func (e *engine) other(ctx context.Context, what Copy) (*rootfs.Root, error) {
	record, err := e.room.Find(what.From)
	if errors.Is(err, containers.ErrNone) {
		found, err := what.Find.image(ctx, e.session, e.depot, what.From)
		if err != nil {
			return nil, err
		}
		return e.roots.Image(found), nil
	}
	if err != nil {
		return nil, err
	}
	from := &engine{Container: &Container{session: e.session, depot: e.depot, room: e.room, to: e.to}, options: e.options,
		roots: e.roots, cache: e.cache}
	if err := from.load(record.ID); err != nil {
		return nil, err
	}
	if err := from.stack(ctx); err != nil {
		return nil, err
	}
	if e.options.Cached { // only what is a layer has a content that is known
		return from.seal(ctx)
	}
	_, below := from.below.Stack()
	parent := ""
	if len(below) > 0 {
		parent = below[len(below)-1]
	}
	return from.below.Above([]cache.Layer{{ID: record.Layer, Parent: parent}}, now()), nil
}
