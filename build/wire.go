package build

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/copystep"
	"github.com/cooperbuild/cooper/build/internal/outputs"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/internal/shared"
	"github.com/cooperbuild/cooper/build/internal/solve"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/internal/sshagent"
	"github.com/cooperbuild/cooper/build/internal/stepinput"
	"github.com/cooperbuild/cooper/build/internal/steps"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/why"
)

// records give access to what earlier builds have noted.
type records struct {
	cache *cache.Cache
	stats *source.StatCache
}

// parts are what the rooms of a build are made of, besides its environment, settings and plan.
type parts struct {
	opened
	records
	bases *bases.Resolver
	// agents are the SSH agents and keys of --ssh, by ID.
	agents map[string]*sshagent.Agent
	// pushes send the outputs that are pushed; nil: no output is.
	pushes *outputs.Pushes
	blobs  *blobs.Room
	why    *why.Room // keeps what becomes of the steps
	// met are told of the steps whose results are in the cache.
	met *shared.Meetings
	// stop cancels the steps that run; its argument is the cause.
	stop context.CancelCauseFunc
}

// rooms carry out one plan; wire makes them.
type rooms struct {
	roots   *rootfs.Roots
	steps   steps.Room
	outputs outputs.Room
}

// wire makes the rooms of one attempt from its parts. The caller closes the field roots.
func (e environment) wire(set settings, p planned, from parts) rooms {
	blame, names := steps.Errors{Explain: e.session.Explain}, steps.Names{Stages: p.stages}
	roots := rootfs.New(rootfs.Options{
		Store: e.depot.Store, Cache: from.cache, Identity: e.identity, Date: p.date, NoCache: set.NoCache,
		Together: set.Together, Progress: set.Progress, Shown: e.asides, Space: e.space, Sealed: from.pushes.Sealed,
		Noted: from.met.Note, Teller: from.why, Shared: from.shared.Reader(), TTL: set.CacheTTL,
		Fail: func(s *plan.Step, err error) error {
			err = blame.Of(s, err)
			from.stop(err)
			return err
		},
	})
	in := stepinput.Inputs{Roots: roots, Contexts: from.contexts, Stats: from.stats}
	return rooms{
		roots: roots,
		steps: steps.New(steps.Options{
			Roots: roots, Identity: e.identity, Contexts: from.contexts, Bases: from.bases,
			Errors: blame, Names: names, Progress: set.Progress,
			Files: copystep.New(copystep.Options{Inputs: in, Agents: from.agents, ReadDirs: set.Run.ReadDirs}),
			Runs: runstep.New(runstep.Setup{
				Inputs: in, Run: set.Run, Agents: from.agents, StepName: names.Of, Tags: set.shownTags(),
				Mounts: from.shared.Mounts(),
			}),
		}),
		outputs: outputs.New(outputs.Options{
			Images: e.depot.Images, Layers: e.depot.Store, Cache: from.cache, Roots: roots,
			Date: p.date, Format: set.Format, Image: set.Image,
			Specs: set.Outputs, Pushes: from.pushes, Blobs: from.blobs, Inline: from.shared.Inline(from.met, from.cache),
			Stdout: set.Stdout, Progress: set.Progress, Shown: e.asides,
		}),
	}
}

// solve runs the graph and waits for all commits, whatever happens: nothing may write to the store after the build.
func (r rooms) solve(ctx context.Context, g *plan.Graph, jobs int) ([]*rootfs.Root, error) {
	if jobs <= 0 {
		jobs = max(8, 2*runtime.NumCPU())
	}
	roots, err := solve.Run(ctx, g, jobs, r.steps.Do)
	if commitErr := r.roots.Wait(); commitErr != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = commitErr
	}
	return roots, err
}

// anchorPatience is how long a build that has failed may take to record what its finished steps have made.
const anchorPatience = 10 * time.Second

// anchorLeft records what the finished steps of a failed or stopped build have made, so that the next build finds it in
// the cache.
func (r rooms) anchorLeft(ctx context.Context, g *plan.Graph, roots []*rootfs.Root) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), anchorPatience)
	defer cancel()
	return r.outputs.Anchor(ctx, g, roots, nil)
}
