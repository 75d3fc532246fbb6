package build

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cooperbuild/cooper/build/internal/attempts"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/internal/outputs"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/shared"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/internal/sshagent"
	"github.com/cooperbuild/cooper/build/internal/steps"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/build/why"
)

// Build builds the image a request describes, writes its outputs and returns what it made. Errors in the Dockerfile are
// *dockerfile.Error, failing steps *StepError; nothing of a failed build is left but what its finished steps put into
// the cache. Many builds may run at once in one session.
func Build(ctx context.Context, s *Session, req Request) (res Result, err error) {
	set, err := check(req)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = s.Explain(err) }()
	e, err := newEnvironment(ctx, s, set)
	if err != nil {
		return Result{}, err
	}
	ctx = uses.WithProject(ctx, why.ProjectOf(set.Context, "", "").Dir)
	end, err := e.depot.Removal.BeginBuild(ctx)
	if err != nil {
		return Result{}, err
	}
	end = sync.OnceValue(end)
	defer func() { err = errors.Join(err, end()) }()
	if e.space, err = reclaim.Watch(ctx, e.depot, set.MaxUsedSpace, set.Share, set.Progress); err != nil {
		return Result{}, err
	}
	guarded, release := e.space.Guard(ctx, "")
	res, err = e.build(guarded, set)
	err = reclaim.Full(guarded, err)
	release()
	if errors.As(err, new(*reclaim.FullError)) {
		err = errors.Join(err, end()) // otherwise its cache mounts would fill the limit of the next build, too
	}
	e.space.Settle(ctx)
	return res, err
}

// environment is what a build shares with the inner builds of its contexts target:DIR.
type environment struct {
	session  *session.Session
	depot    *depot.Depot
	identity rootfs.Identity
	// space keeps the disk space below Request.MaxUsedSpace; nil: nothing limits it.
	space *reclaim.Space
	// asides numbers the activities that are shown beside the steps, such as pulls.
	asides progress.Asides
}

// newEnvironment opens the session's store. The field space is nil until the caller sets it.
func newEnvironment(ctx context.Context, s *Session, set settings) (environment, error) {
	d, err := s.Depot(ctx)
	if err != nil {
		return environment{}, err
	}
	caller, err := s.Caller()
	return environment{
		session: s, depot: d, asides: progress.NewAsides(set.Progress),
		identity: rootfs.Identity{User: caller.Caller, Process: caller.Own(), StepNS: set.StepNS},
	}, err
}

// build builds what the settings say. Where other programs remove layers under it, it begins anew.
func (e environment) build(ctx context.Context, set settings) (res Result, err error) {
	start := time.Now()
	contexts := inputs.New(set.inputs(e.asides), e.depot.Store)
	defer func() { err = errors.Join(err, contexts.Close()) }()
	places := shared.New(ctx, shared.Options{
		From: set.sources(), To: set.CacheTo, Key: set.CacheKey, Registry: e.session.Registry().Options(), Spool: e.spool,
		Pull: shared.Puller(e.depot.Pull, e.identity.Process), Progress: set.Progress, Shown: e.asides,
		Nested: e.identity.Process != nil,
	})
	defer places.Close()
	df, err := contexts.ReadMain(ctx)
	if err != nil {
		df.Warn(set.Progress)
		return Result{}, err
	}
	res, err = attempts.Persist(ctx, set.Progress, func(to progress.Sink) (Result, bool, error) {
		return e.attempt(ctx, set.shownTo(to), opened{contexts, df, places})
	})
	res.Took = time.Since(start)
	return res, err
}

// opened is what a build reads from; build makes it once, all attempts share it.
type opened struct {
	contexts   *inputs.Contexts
	dockerfile inputs.File
	// shared are the caches that other machines fill; nil: there are none.
	shared *shared.Room
}

// attempt plans and runs the build once. final says that the outcome stands: another attempt must not follow, since
// what was done can't be taken back.
func (e environment) attempt(ctx context.Context, set settings, from opened) (res Result, final bool, err error) {
	r := records{stats: source.OpenStatCache(e.depot.Store.Paths().Stats())}
	if r.cache, err = cache.Open(e.depot.Store.Paths().Cache()); err != nil {
		return Result{}, true, err
	}
	agents, err := sshagent.OpenAll(set.Run.Agents)
	if err != nil {
		return Result{}, true, err
	}
	defer reclaim.KeepStats(ctx, e.depot.Store, r.stats, set.Progress)
	blobs := e.blobs(set, r.cache)
	defer blobs.Close()
	bases := e.bases(set, blobs)
	if set, err = set.withPlatforms(ctx, from.dockerfile, bases); err != nil {
		return Result{}, false, err
	}
	p, err := makePlan(ctx, set, from, bases)
	if err != nil {
		return Result{}, false, err
	}
	set.Progress.Emit(steps.Names{Stages: p.stages}.Outline(p.graph, from.dockerfile.Parsed))
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	pushes := outputs.NewPushes(running, outputs.PushesOptions{
		Layers: e.depot.Store, Origins: e.depot.Images, Cache: r.cache, Blobs: blobs,
		Registry: e.session.Registry().Options(), Retries: e.session.Registry().Retries, Specs: set.Outputs,
		Annotations: set.Image.Annotations, Tags: set.Tags, Shown: e.asides,
	}, set.kept(p.targets))
	defer func() { pushes.Close(ctx, err) }()
	met, reasons := shared.NewMeetings(p.targets), why.New(why.Options{
		Project: why.ProjectOf(set.Context, set.Dockerfile, set.Target), Cache: r.cache, Shared: from.shared,
		Name: steps.Names{Stages: p.stages}.Of, Progress: set.Progress, Explain: set.Explain, Tell: set.TellWhy,
	})
	w := e.wire(set, p, parts{opened: from, records: r, agents: agents, bases: bases, pushes: pushes, blobs: blobs,
		stop: stop, met: met, why: reasons})
	defer func() { err = errors.Join(err, w.roots.Close()) }()
	inputs.NoteArgs(set.BuildArgs, set.Progress)
	w.outputs.WarnOfFormat(p.targets)
	roots, err := w.solve(running, p.graph, set.Jobs)
	reasons.Save(ctx, p.graph, err != nil)
	told := reasons.Steps(p.graph)
	if err != nil {
		return Result{Why: told}, false, errors.Join(err, w.anchorLeft(ctx, p.graph, roots))
	}
	if err := w.outputs.Anchor(ctx, p.graph, roots, set.kept(p.targets)); err != nil {
		return Result{}, false, err
	}
	if err := w.outputs.SaveStages(ctx, p.graph.Stages, p.targets, roots); err != nil {
		return Result{}, false, err
	}
	made, err := w.outputs.Finish(ctx, p.targets, roots, set.names)
	if err != nil {
		return Result{}, made.Printed, err
	}
	if err := from.shared.Save(ctx, shared.SaveOptions{
		Met: met.All(), Records: r.cache, Layer: shared.LayersOf(e.depot.Store), Keep: blobs.For, Origins: e.depot.Images,
		Retries: e.session.Registry().Retries, OpenMount: e.depot.Store.Parts().Uses.OpenMount,
		Secrets: set.Run.SecretValues(),
	}); err != nil {
		return Result{}, true, err
	}
	ran, cached := w.roots.Counts()
	res = Result{ImageID: made.ID, Manifest: made.Manifest, Names: set.names, Steps: ran + cached, Cached: cached,
		Why: told}
	return res, made.Printed, e.depot.Store.Parts().Durable.Settle()
}
