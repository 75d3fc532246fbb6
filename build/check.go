package build

import (
	"context"
	"errors"
	"os"

	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/internal/inspect"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// Source is the Dockerfile that a remark is about.
type Source = inputs.Source

// CheckResult is what [Check] found.
type CheckResult = inspect.CheckResult

// OutlineResult lists the build arguments, secrets and the like that the target of a request takes.
type OutlineResult = inspect.OutlineResult

// TargetsResult are the stages that can be built.
type TargetsResult = inspect.TargetsResult

// Look is how far [Check] and [Outline] go to know base images.
type Look int

// The ways to look at base images.
const (
	// LookLocal reads the files of the local store. It needs no user namespace and changes nothing.
	LookLocal Look = iota
	// LookPull opens the store and fetches images as Request.Pull says.
	LookPull
)

// Check lints the Dockerfile of a request and builds nothing. The error says what kept Check from linting;
// mistakes in the Dockerfile are in the result.
func Check(ctx context.Context, s *Session, req Request, look Look) (res CheckResult, err error) {
	err = withDockerfile(ctx, s, req, look, func(in inspect.Dockerfile) error {
		res = inspect.Check(ctx, in)
		return nil
	})
	return res, err
}

// Outline lists the build arguments, secrets and the like that the target of a request takes. It builds nothing.
func Outline(ctx context.Context, s *Session, req Request, look Look) (res OutlineResult, err error) {
	err = withDockerfile(ctx, s, req, look, func(in inspect.Dockerfile) (err error) {
		res, err = inspect.Outline(ctx, in)
		return err
	})
	return res, err
}

// Targets lists the stages of the Dockerfile of a request. It builds nothing and looks at no image.
func Targets(ctx context.Context, s *Session, req Request) (res TargetsResult, err error) {
	err = withDockerfile(ctx, s, req, LookLocal, func(in inspect.Dockerfile) (err error) {
		res, err = inspect.Targets(in)
		return err
	})
	return res, err
}

// withDockerfile reads the Dockerfile of a request and hands it on, with a resolver that looks for base images as
// far as look says.
func withDockerfile(ctx context.Context, s *Session, req Request, look Look, do func(inspect.Dockerfile) error) (
	err error) {
	set := settings{Request: req.completed()}
	e := environment{session: s, asides: progress.NewAsides(set.Progress)}
	var st *store.Store // nil where only directories and the files of the store are looked at
	var resolver plan.Resolver = bases.Local{Peek: s.Peek}
	if look == LookPull || NeedsStore(req) {
		if e, err = newEnvironment(ctx, s, set); err != nil {
			return err
		}
		st = e.depot.Store
	}
	if look == LookPull {
		resolver = bases.New(e.baseOptions(set))
	}
	contexts := inputs.New(set.inputs(e.asides), st)
	defer func() { err = errors.Join(err, contexts.Close()) }()
	df, err := contexts.ReadMain(ctx)
	if placed := new(dockerfile.Error); err != nil && !errors.As(err, &placed) {
		return err
	}
	o := set.planOptions(df, resolver)
	o.Warn = nil // warnings are part of the result
	return do(inspect.Dockerfile{File: df, Err: err, Options: o})
}

// NeedsStore tells whether the context of a request has to be fetched or unpacked before it can be looked at, which
// takes an open store and so a user namespace.
func NeedsStore(req Request) bool {
	info, err := os.Stat(req.Context)
	isDir := err == nil && info.IsDir()
	return remote.IsHTTP(req.Dockerfile) || (req.Context != Stdin && !isDir)
}
