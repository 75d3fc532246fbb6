package build

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/copystep"
	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/inputs"
	"github.com/cooperbuild/cooper/build/outputs"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/build/rootfs"
	"github.com/cooperbuild/cooper/build/runstep"
	"github.com/cooperbuild/cooper/build/solve"
	"github.com/cooperbuild/cooper/build/source"
	"github.com/cooperbuild/cooper/build/sshagent"
	"github.com/cooperbuild/cooper/build/stepinput"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/build/store/depot"
	"github.com/cooperbuild/cooper/build/store/images"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// StorageDrivers are the storage drivers that a store can have.
func StorageDrivers() []string { return store.Drivers() }

// StoreError says why the store can't be opened: something about this machine, its files or its settings.
type StoreError = store.OpenError

// Build builds the image a request describes, writes its outputs and returns what it made. Errors in the Dockerfile are
// *dockerfile.Error, failing steps *StepError; nothing of a failed build is left but what its finished steps put into
// the cache.
func Build(ctx context.Context, req Request) (res Result, err error) {
	req.complete()
	req.Store.Tell = tellOf(req.Progress)
	d, err := openStore(ctx, req.Store)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = machineError(d.Store, errors.Join(err, d.Store.Close())) }()
	end, err := d.Removal.BeginBuild(ctx)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, end()) }()
	if req.space, err = reclaim.Watch(ctx, d, req.MaxUsedSpace, req.Progress); err != nil {
		return Result{}, err
	}
	res, err = buildIn(ctx, req, d)
	req.space.Settle(ctx)
	return res, err
}

// buildIn builds with a store that is open. To open it once more in one process would be to lose its locks.
func buildIn(ctx context.Context, req Request, d *depot.Depot) (res Result, err error) {
	start := time.Now()
	names, err := fullNames(req.Tags)
	if err == nil {
		err = outputs.Check(req.Platforms, req.Outputs)
	}
	if err != nil {
		return Result{}, err
	}
	if err := req.Run.Check(); err != nil {
		return Result{}, err
	}
	contexts := inputs.New(req.inputs(), d.Store)
	defer func() { err = errors.Join(err, contexts.Close()) }()
	df, err := contexts.ReadMain(ctx)
	if err != nil {
		df.Warn(req.Progress)
		return Result{}, err
	}
	res, err = persist(ctx, req, func(req Request) (Result, bool, error) {
		b, err := newBuilder(req, d, contexts)
		if err != nil {
			return Result{}, true, err
		}
		res, err := b.build(ctx, df, names)
		return res, b.outputs != nil && b.outputs.Printed, errors.Join(err, b.close())
	})
	res.Took = time.Since(start)
	return res, err
}

// build builds what a Dockerfile says.
func (b *builder) build(ctx context.Context, df inputs.File, names []string) (Result, error) {
	graph, targets, err := b.plan(ctx, df)
	if err != nil {
		return Result{}, err
	}
	if err := b.setSourceDate(graph.SourceDate); err != nil {
		return Result{}, err
	}
	b.roots = rootfs.New(rootfs.Options{
		Store: b.store, Cache: b.cache, Identity: b.req.Identity, SourceDate: b.req.SourceDate, NoCache: b.req.NoCache,
		Progress: b.req.Progress,
		Shown:    b.req.asides, Space: b.req.space, Fail: b.fail,
	})
	from := stepinput.Inputs{Roots: b.roots, Contexts: b.contexts, Stats: b.stats}
	b.runs = runstep.New(runstep.Setup{Inputs: from, Run: b.req.Run, Agents: b.agents, StepName: b.stepName,
		Tags: b.req.shownTags()})
	b.files = copystep.New(copystep.Options{Inputs: from, Agents: b.agents, ReadDirs: b.req.Run.ReadDirs})
	b.noteArgs()
	b.outputs = &outputs.Room{Options: outputs.Options{
		Images: b.images, Layers: b.store, Cache: b.cache, Roots: b.roots, SourceDate: b.req.SourceDate, Format: b.req.Format,
		Specs:    b.req.Outputs,
		Progress: b.req.Progress, Shown: b.req.asides,
	}}
	b.outputs.WarnOfFormat(targets)
	roots, err := b.solve(ctx, graph)
	if err != nil {
		return Result{}, errors.Join(err, b.anchorLeft(ctx, graph, roots))
	}
	if err := b.outputs.Anchor(ctx, graph, roots, targets); err != nil {
		return Result{}, err
	}
	made, err := b.outputs.Finish(ctx, targets, roots, names)
	if err != nil {
		return Result{}, err
	}
	ran, cached := b.roots.Counts()
	res := Result{ImageID: made.ID, Manifest: made.Manifest, Names: names, Steps: ran + cached, Cached: cached}
	return res, b.store.Durable().Settle()
}

// anchorPatience is how long a build that has failed may take to record what its finished steps have made.
const anchorPatience = 10 * time.Second

// anchorLeft keeps what the finished steps of a build that has failed, or was stopped, have made.
func (b *builder) anchorLeft(ctx context.Context, g *plan.Graph, roots []*rootfs.Root) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), anchorPatience)
	defer cancel()
	return b.outputs.Anchor(ctx, g, roots, nil)
}

// CheckOutputs refuses outputs that can't hold what is going to be built.
func CheckOutputs(platforms []ocispec.Platform, specs []export.Spec) error {
	return outputs.Check(platforms, specs)
}

// CheckName tells whether a name can be given to an image.
func CheckName(name string) error {
	_, err := images.NormalizeName(name)
	return err
}

func fullNames(tags []string) ([]string, error) {
	var names []string
	for _, t := range tags {
		n, err := images.NormalizeName(t)
		if err != nil {
			return nil, err
		}
		names = append(names, n)
	}
	return names, nil
}

// builder is the state of one build.
type builder struct {
	req      Request
	store    *store.Store
	images   *images.Room
	cache    *cache.Cache
	stats    *source.StatCache
	resolver *resolver
	contexts *inputs.Contexts
	// roots is made once the plan has said which source date holds.
	roots  *rootfs.Roots
	agents map[string]*sshagent.Agent
	// runs and files are made together with roots.
	runs  *runstep.Room
	files *copystep.Room

	stop context.CancelCauseFunc
	// outputs is made together with roots.
	outputs *outputs.Room
	// stages is how many stages the plan for one image has.
	stages int
}

func newBuilder(req Request, d *depot.Depot, contexts *inputs.Contexts) (*builder, error) {
	st := d.Store
	c, err := cache.Open(st.CacheDir())
	if err != nil {
		return nil, err
	}
	if st.MountProgram().Path != "" && !overlay.ClonesDetached() {
		st.LeaveMountsToDriver()
	}
	b := &builder{req: req, store: st, images: d.Images, cache: c, contexts: contexts}
	b.stats = source.OpenStatCache(st.StatsFile())
	b.resolver = &resolver{depot: d, req: &b.req, found: map[string]images.Found{}, resolved: map[string]string{}}
	b.agents, err = sshagent.OpenAll(req.Run.Agents)
	return b, err
}

func (b *builder) planOptions(ignore *source.Ignore) plan.Options {
	o := planOptions(&b.req, ignore)
	o.Resolver = b.resolver
	o.Warn = func(w dockerfile.Warning) { b.req.Progress.Emit(inputs.Warning(w)) }
	return o
}

// solve runs the graph and waits for all commits, whatever happens: nothing may write to the store after Build.
func (b *builder) solve(ctx context.Context, g *plan.Graph) ([]*rootfs.Root, error) {
	ctx, b.stop = context.WithCancelCause(ctx)
	defer b.stop(nil)
	jobs := b.req.Jobs
	if jobs <= 0 {
		jobs = max(8, 2*runtime.NumCPU())
	}
	roots, err := solve.Run(ctx, g, jobs, b.do)
	if commitErr := b.roots.Wait(); commitErr != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = commitErr
	}
	return roots, err
}

// fail ends the build because a commit has failed.
func (b *builder) fail(s *plan.Step, err error) error {
	err = stepError(b.store, s, err)
	b.stop(err)
	return err
}

func (b *builder) close() error {
	var errs []error
	if b.roots != nil {
		errs = append(errs, b.roots.Close())
	}
	reclaim.NoteStats(b.store)
	if err := b.stats.Save(); err != nil {
		// The next build reads more files than it had to; that's all.
		b.req.Progress.Emit(progress.Note{Text: fmt.Sprintf("the file digests could not be kept: %v", err)})
	}
	return errors.Join(errs...)
}
