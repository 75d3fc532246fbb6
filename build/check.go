package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// Source is the Dockerfile that a remark is about.
type Source struct {
	// Name is the path as the user gave it, or "-".
	Name string
	Text []byte
}

// CheckResult is what [Check] found.
type CheckResult struct {
	Source Source
	// Warnings are the linter's, in file order.
	Warnings []dockerfile.Warning
	// Notes are lines for the user about the check itself and the command line.
	Notes []string
	// Err is why the Dockerfile can't be built at all; nil if it can. It is a *dockerfile.Error if it has a place.
	Err error
}

// Look is how far [Check] and [Outline] go to know base images.
type Look int

// The ways to look at base images.
const (
	// LookLocal reads the files of the local store. It needs no user namespace and changes nothing.
	LookLocal Look = iota
	// LookPull opens the store and fetches images as Request.Pull says.
	LookPull
)

// Check lints the Dockerfile of a request and builds nothing. The error is for what kept it from looking; what is wrong with the
// Dockerfile is in the result.
func Check(ctx context.Context, req Request, look Look) (res CheckResult, err error) {
	err = inspect(ctx, &req, look, func(in *inspection) error {
		res.Source = in.source
		if in.file == nil || in.err != nil {
			res.Err = in.err
			if in.file != nil {
				res.Warnings = in.file.Warnings
			}
			return nil
		}
		found, err := plan.Check(ctx, in.file, in.options)
		for _, w := range found.Warnings {
			if w.Rule == plan.RuleUnusedBuildArg {
				res.Notes = append(res.Notes, w.Message)
				continue
			}
			res.Warnings = append(res.Warnings, w)
		}
		for _, ref := range found.Unknown {
			res.Notes = append(res.Notes, unknownNote(ref))
		}
		res.Err = err
		return nil
	})
	return res, err
}

// unknownNote says why a base image isn't known, and what that means.
func unknownNote(ref string) string {
	const means = "what it sets is not known, so undefined variables in stages on it are not reported"
	if where, ok := strings.CutPrefix(ref, plan.TargetRef); ok {
		return fmt.Sprintf("target:%s is not built by a check: %s", where, means)
	}
	return fmt.Sprintf("%s is not in the local store: %s (--pull fetches it)", ref, means)
}

// inspection is a Dockerfile that is looked at and not built.
type inspection struct {
	readFile
	options plan.Options
	// err is what is wrong with the text.
	err error
}

// inspect reads the Dockerfile of a request and hands it on, with a resolver that looks as far as it may.
func inspect(ctx context.Context, req *Request, look Look, do func(*inspection) error) (err error) {
	req.complete()
	var st *store.Store
	if look == LookPull || NeedsStore(*req) {
		if st, err = openStore(ctx, req.Store); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, st.Close()) }()
	}
	open := newOpener(req, st)
	place, err := open.main(ctx)
	if err != nil {
		return fmt.Errorf("open build context: %w", err)
	}
	defer func() { err = errors.Join(err, place.release()) }()
	df, err := open.read(ctx, place)
	if placed := new(dockerfile.Error); err != nil && !errors.As(err, &placed) {
		return err
	}
	in := &inspection{readFile: df, err: err, options: planOptions(req, df.ignore)}
	in.options.Resolver = localResolver{req: req}
	if look == LookPull {
		in.options.Resolver = &resolver{store: st, req: req, found: map[string]store.FoundImage{}, resolved: map[string]string{}, looks: true}
	}
	return do(in)
}

// NeedsStore tells whether the context of a request has to be fetched or unpacked before it can be looked at, which takes an open
// store and so a user namespace.
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
	peeker, err := store.NewPeeker(r.req.Store)
	if err != nil {
		return imagebuilder.Base{}, fmt.Errorf("%w (%w)", plan.ErrUnknownImage, err)
	}
	base, err := peeker.FindImage(ref)
	if err != nil {
		// A store that can't be read is no reason to keep quiet about the Dockerfile.
		return base, fmt.Errorf("%w (%w)", plan.ErrUnknownImage, err)
	}
	return base, nil
}
