package build

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cooperbuild/cooper/build/inputs"
	"github.com/cooperbuild/cooper/build/inspect"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/build/store/depot"
	"github.com/cooperbuild/cooper/build/store/images"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// Source is the Dockerfile that a remark is about.
type Source = inputs.Source

// CheckResult is what [Check] found.
type CheckResult = inspect.CheckResult

// OutlineResult says what the target of a request can be given.
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

// Check lints the Dockerfile of a request and builds nothing. The error is for what kept it from looking; what is wrong
// with the Dockerfile is in the result.
func Check(ctx context.Context, req Request, look Look) (res CheckResult, err error) {
	err = withDockerfile(ctx, &req, look, func(in inspect.Dockerfile) error {
		res = inspect.Check(ctx, in)
		return nil
	})
	return res, err
}

// Outline finds out what the target of a request can be given. It builds nothing.
func Outline(ctx context.Context, req Request, look Look) (res OutlineResult, err error) {
	err = withDockerfile(ctx, &req, look, func(in inspect.Dockerfile) (err error) {
		res, err = inspect.Outline(ctx, in)
		return err
	})
	return res, err
}

// Targets lists the stages of the Dockerfile of a request. It builds nothing and looks at no image.
func Targets(ctx context.Context, req Request) (res TargetsResult, err error) {
	err = withDockerfile(ctx, &req, LookLocal, func(in inspect.Dockerfile) (err error) {
		res, err = inspect.Targets(in)
		return err
	})
	return res, err
}

// withDockerfile reads the Dockerfile of a request and hands it on, with a resolver that looks as far as it may.
func withDockerfile(ctx context.Context, req *Request, look Look, do func(inspect.Dockerfile) error) (err error) {
	req.complete()
	var d *depot.Depot
	var st *store.Store
	if look == LookPull || NeedsStore(*req) {
		if d, err = openStore(ctx, req.Store); err != nil {
			return err
		}
		st = d.Store
		defer func() { err = errors.Join(err, st.Close()) }()
	}
	contexts := inputs.New(req.inputs(), st)
	defer func() { err = errors.Join(err, contexts.Close()) }()
	df, err := contexts.ReadMain(ctx)
	if placed := new(dockerfile.Error); err != nil && !errors.As(err, &placed) {
		return err
	}
	in := inspect.Dockerfile{File: df, Err: err, Options: planOptions(req, df.Ignore)}
	in.Options.Resolver = localResolver{req: req}
	if look == LookPull {
		in.Options.Resolver = &resolver{depot: d, req: req, found: map[string]images.Found{},
			resolved: map[string]string{}, looks: true}
	}
	return do(in)
}

// NeedsStore tells whether the context of a request has to be fetched or unpacked before it can be looked at, which
// takes an open store and so a user namespace.
func NeedsStore(req Request) bool {
	info, err := os.Stat(req.Context)
	isDir := err == nil && info.IsDir()
	return remote.IsHTTP(req.Dockerfile) || (req.Context != Stdin && !isDir)
}

// localResolver reads the local store's files.
type localResolver struct{ req *Request }

var _ plan.Resolver = localResolver{}

// Resolve finds an image of the store, whatever its platform: the linter has a rule for that.
func (r localResolver) Resolve(_ context.Context, ref string, _ plan.Wanted) (imagebuilder.Base, error) {
	peeker, err := images.NewPeeker(r.req.Store)
	if err != nil {
		return imagebuilder.Base{}, fmt.Errorf("%w (%w)", plan.ErrUnknownImage, err)
	}
	base, err := peeker.Find(ref)
	if err != nil {
		// A store that can't be read is no reason to keep quiet about the Dockerfile.
		return base, fmt.Errorf("%w (%w)", plan.ErrUnknownImage, err)
	}
	return base, nil
}
