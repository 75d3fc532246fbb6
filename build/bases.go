package build

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/attempts"
	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/progress"
)

// bases makes the resolver that finds the base images of one build.
func (e environment) bases(set settings, kept *blobs.Room) *bases.Resolver {
	o := e.baseOptions(set)
	if set.packsLayers() {
		o.Keep = kept.Pulled
	}
	o.Build = e.targetBuilder(set)
	return bases.New(o)
}

// blobs makes the room that finds and keeps the compressed layers of a build's outputs.
func (e environment) blobs(set settings, c *cache.Cache) *blobs.Room {
	return blobs.New(blobs.Options{
		Cache: c, Dir: e.depot.Store.Paths().Remote(), Origins: e.depot.Images, Registry: e.session.Registry().Options(),
		Offline: set.Pull == PullNever, Spool: e.spool,
	})
}

// spool makes an empty file without a name on the disk of the store.
func (e environment) spool() (*os.File, error) { return outfile.Unnamed(e.depot.Store.Paths().Own) }

// packsLayers tells whether an output of the build holds layers as compressed files.
func (s settings) packsLayers() bool {
	return slices.ContainsFunc(s.Outputs, func(o export.Spec) bool { return !o.HoldsFiles() && !o.IsImage() })
}

func (e environment) baseOptions(set settings) bases.Options {
	return bases.Options{
		Images: e.depot.Images, Layers: snapshot.Rechainer{Store: e.depot.Store},
		Transfer: bases.Watched(e.depot.Pull, e.space.Check), Registry: e.session.Registry(), Pull: set.Pull,
		User: e.identity.User, Process: e.identity.Process, Progress: set.Progress, Asides: e.asides,
	}
}

// targetBuilder builds the images of contexts target:DIR[#STAGE]: with the same store, cache and machine, but without
// build arguments and without named contexts, so that no such build can lead back to itself.
func (e environment) targetBuilder(set settings) func(context.Context, string, ocispec.Platform) (images.Found,
	error) {
	var begun atomic.Int64
	return func(ctx context.Context, where string, platform ocispec.Platform) (images.Found, error) {
		dir, stage := where, ""
		if n := strings.LastIndexByte(where, '#'); n >= 0 {
			dir, stage = where[:n], where[n+1:]
		}
		inner, err := check(Request{
			Context: dir, Target: stage, Platforms: []ocispec.Platform{platform}, Pull: set.Pull, NoCache: set.NoCache,
			Jobs: set.Jobs, SourcePolicy: set.SourcePolicy, SourceDate: set.SourceDate, Timestamp: set.Timestamp, Run: set.Run,
			Progress: progress.Part{To: set.Progress, First: int(begun.Add(1)) * attempts.StepsPerBuild, Name: where},
		})
		if err != nil {
			return images.Found{}, err
		}
		e := e // the asides of the inner build are shown as part of its own steps
		e.asides = e.asides.WithSink(inner.Progress)
		res, err := e.build(ctx, inner)
		if err != nil {
			return images.Found{}, fmt.Errorf("build target:%s: %w", where, err)
		}
		return e.depot.Images.Find(ctx, res.ImageID.String())
	}
}
