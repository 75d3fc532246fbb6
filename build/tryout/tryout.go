package tryout

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"syscall"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/internal/console"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/internal/stepinput"
	"github.com/cooperbuild/cooper/build/internal/stepnet"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/executor"
)

// Request says which image is tried, and how.
type Request struct {
	// Image is a name or an ID.
	Image string
	// Platform is the one that the image must be for; nil: this machine's, or that of the image in the store.
	Platform *ocispec.Platform
	// Pull says when the image is fetched; empty is bases.PullMissing.
	Pull    bases.PullPolicy
	Command Command
	// ReadOnly keeps the command from writing to the image's files.
	ReadOnly bool
	// Run are the settings of the sandbox, as RUN steps have them.
	Run runstep.Options
	// StepNS is the user namespace of the command; with the zero value it runs in cooper's own.
	StepNS rootfs.StepNS
	// Progress receives what is to be said while the image is fetched; nil: it is dropped.
	Progress progress.Sink
	// Signal gives the signal that a cause of a context's end stands for; nil: SIGTERM.
	Signal func(cause error) syscall.Signal
}

// Tryout is an image that is there, and a command for it. Open makes it, Close ends it.
type Tryout struct {
	request Request
	op      *plan.Run
	below   *rootfs.Root
	step    *plan.Step
	roots   *rootfs.Roots
	room    *runstep.Room
	end     func() error // ends what keeps the image's layers in the store
}

// Open finds the image, and fetches it if the request says so. The caller calls Close, also when it doesn't run it.
func Open(ctx context.Context, s *session.Session, req Request) (_ *Tryout, err error) {
	if req.Progress == nil {
		req.Progress = progress.Discard{}
	}
	defer func() { err = s.Explain(err) }()
	if err := req.Run.Check(); err != nil {
		return nil, err
	}
	d, err := s.Depot(ctx)
	if err != nil {
		return nil, err
	}
	caller, err := s.Caller()
	if err != nil {
		return nil, err
	}
	end, err := d.Removal.BeginBuild(ctx)
	if err != nil {
		return nil, err
	}
	found, err := find(ctx, s, req)
	var op *plan.Run
	if err == nil {
		op, err = req.Command.in(found.Image)
	}
	if err != nil {
		return nil, errors.Join(err, end())
	}
	op.Network = cmp.Or(req.Run.Network, stepnet.Default)

	roots := rootfs.New(rootfs.Options{
		Store: d.Store, Progress: req.Progress, Shown: progress.NewAsides(req.Progress),
		Identity: rootfs.Identity{User: caller.Caller, Process: caller.Own(), StepNS: req.StepNS},
	})
	return &Tryout{
		request: req, op: op, below: roots.Image(found), roots: roots, end: end,
		step: &plan.Step{Text: "run " + req.Image + " " + strings.Join(op.Args, " ")},
		room: runstep.New(runstep.Setup{
			Inputs: stepinput.Inputs{Roots: roots}, Run: req.Run, Tags: []string{req.Image},
			StepName: func(*plan.Step) string { return "[run]" },
		}),
	}, nil
}

// find finds the image of a request.
func find(ctx context.Context, s *session.Session, req Request) (images.Found, error) {
	d, err := s.Depot(ctx)
	if err != nil {
		return images.Found{}, err
	}
	caller, err := s.Caller()
	if err != nil {
		return images.Found{}, err
	}
	want := plan.Wanted{Platform: runstep.MachinePlatform()}
	if req.Platform != nil {
		want = plan.Wanted{Platform: *req.Platform, Asked: true}
	}
	resolver := bases.New(bases.Options{
		Images: d.Images, Transfer: d.Pull, Registry: s.Registry(), Pull: cmp.Or(req.Pull, bases.PullMissing),
		User: caller.Caller, Process: caller.Own(), Progress: req.Progress, Asides: progress.NewAsides(req.Progress),
	})
	base, err := resolver.Resolve(ctx, req.Image, want)
	if err != nil {
		return images.Found{}, err
	}
	return resolver.Image(base.ID), nil
}

// Run runs the command, waits for its end, removes what it has written to the image's files and gives its exit status:
// 128 plus the signal's number if a signal ended it. When ctx ends the command is sent the signal of its cause, and is
// killed if it doesn't handle that or takes too long. Run is called once.
func (t *Tryout) Run(ctx context.Context, streams Streams) (exit int, err error) {
	staged, err := t.roots.Stage(ctx, t.step, t.below)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, staged.Snap.Remove()) }()
	return console.Run(ctx, streams, t.request.Signal, func(ctx context.Context,
		connect func(*executor.Step)) (executor.Status, error) {
		return t.room.Try(ctx, staged, t.op, func(s *executor.Step) {
			s.ReadOnly = t.request.ReadOnly
			connect(s)
		})
	})
}

// Streams are what a command is connected with.
type Streams = console.Streams

// StatusOf gives the exit status that stands for an error of Run.
func StatusOf(err error) int { return console.StatusOf(err) }

// Close lets go of the image.
func (t *Tryout) Close() error { return errors.Join(t.roots.Close(), t.end()) }
