package bakecmd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/buildcmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/engineload"
	"github.com/cooperbuild/cooper/internal/bakefile"
)

// bakeTarget is a target of a bake file whose flags were read.
type bakeTarget struct {
	bakefile.Target
	options *buildcmd.Options
	request build.Request
}

// newBakeTarget reads the flags of a target, and those that all have.
func newBakeTarget(env command.Env, t bakefile.Target, shared []string) (*bakeTarget, error) {
	o, req, err := buildcmd.Parse(env, slices.Concat(t.Flags, shared), t.Context, t.Inline)
	if err != nil {
		return nil, err
	}
	if t.Inline != nil {
		req.Stdin = strings.NewReader(*t.Inline)
	}
	if t.Linked { // others need it in the store
		req.Outputs, req.Tags = nil, nil
	}
	return &bakeTarget{Target: t, options: o, request: req}, nil
}

// bake is a run of cooper bake.
type bake struct {
	env     command.Env
	options *bakeOptions
	jobs    Jobs
	mode    show.Mode
	targets []*bakeTarget

	session  *build.Session
	renderer progress.Renderer
	stepNS   build.StepNS
	together *build.Together
	// engine is the connection to docker's engine that images are given to; nil: none.
	engine net.Conn

	mu sync.Mutex
	// results are those of the targets that are built, by name; shown are the notes that were shown.
	results map[string]build.Result
	shown   map[string]bool
}

// build builds all targets, and writes what was built.
func (b *bake) build(ctx context.Context, handOver []string) (err error) {
	if len(b.targets) == 0 {
		return errors.New("no target is asked for")
	}
	reach, secretNotes, err := b.enter(ctx, handOver)
	if err != nil {
		return err
	}
	defer func() {
		if b.engine != nil {
			_ = b.engine.Close() // it is closed already, unless a target has failed
		}
	}()
	common := b.targets[0].options // what follows is of flags that all targets have
	ns, note, err := common.Userns.StepNS(ctx, b.env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Joined.Close()) }()
	b.stepNS, b.together = ns, build.NewTogether()
	b.results, b.shown = map[string]build.Result{}, map[string]bool{}
	b.renderer = show.New(b.mode, b.env.Stderr)
	b.note(note)
	for _, text := range secretNotes {
		b.note(text)
	}
	store := common.Store
	store.Tell = progress.Tell(b.renderer)
	b.session = build.NewSession(build.SessionOptions{Store: store, Registry: reach})
	if err = b.run(ctx); err == nil {
		err = b.load(ctx)
	}
	err = errors.Join(err, b.session.Close(), b.renderer.Close())
	if err != nil && b.jobs.Mode != DeferError {
		return err
	}
	return errors.Join(err, b.writeMetadata(ctx))
}

// enter goes into the namespace, and reads there the secrets of all targets and how registries are reached.
func (b *bake) enter(ctx context.Context, handOver []string) (reach build.RegistryOptions, notes []string, err error) {
	var secrets []string
	for _, t := range b.targets {
		secrets = append(secrets, t.options.Run.Secrets...)
	}
	in, err := buildcmd.Enter(ctx, b.env, secrets, slices.ContainsFunc(b.targets, (*bakeTarget).loads), handOver...)
	if err != nil {
		return reach, nil, err
	}
	b.engine = in.Engine
	for _, t := range b.targets {
		if err = in.Secrets.Take(len(t.options.Run.Secrets)).Read(&t.request.Run); err != nil {
			return reach, nil, err
		}
	}
	reach, err = b.targets[0].options.Registries.Options(ctx, b.env)
	return reach, in.Notes, err
}

// run builds the targets. With DeferOutput it builds them twice, the second time from the cache and with outputs.
func (b *bake) run(ctx context.Context) error {
	targets, byName := []bakefile.Target{}, map[string]*bakeTarget{}
	for n, t := range b.targets {
		targets, byName[t.Name] = append(targets, t.Target), t
		b.prepare(t, n)
	}
	if b.jobs.Mode == DeferOutput {
		err := b.jobs.Run(ctx, targets, func(ctx context.Context, t bakefile.Target) error {
			return b.one(ctx, byName[t.Name], func(req *build.Request) {
				req.Tags = nil
				if !t.Linked {
					req.Outputs = []export.Spec{{Type: export.TypeCacheOnly}}
				}
			})
		})
		if err != nil {
			return err
		}
	}
	return b.jobs.Run(ctx, targets, func(ctx context.Context, t bakefile.Target) error {
		return b.one(ctx, byName[t.Name], func(*build.Request) {})
	})
}

// loads tells whether the target's image goes to docker's engine, if there is one.
func (t *bakeTarget) loads() bool { return !t.Linked && t.options.Loads() }

// load gives the images to docker's engine.
func (b *bake) load(ctx context.Context) error {
	var all []build.Result
	for _, t := range b.targets {
		if t.loads() {
			all = append(all, b.results[t.Name])
		}
	}
	return engineload.Load(ctx, b.engine, b.session, all, b.renderer)
}

// idsPerTarget is more than the IDs that the progress of a build has.
const idsPerTarget = 1 << 40

// prepare completes the request of the target with this number.
func (b *bake) prepare(t *bakeTarget, number int) {
	for _, text := range t.options.Notes {
		b.note(text)
	}
	t.request.StepNS, t.request.Together = b.stepNS, b.together
	t.request.TellWhy = b.options.metadataFile != ""
	part := progress.Part{To: b.renderer, First: number * idsPerTarget}
	if len(b.targets) > 1 {
		part.Name = t.Name
	}
	t.request.Progress = part
}

// note shows a text once.
func (b *bake) note(text string) {
	if text != "" && !b.shown[text] {
		b.shown[text] = true
		b.renderer.Emit(progress.Note{Text: text})
	}
}

// one builds a target whose links are built, after change has changed a copy of its request.
func (b *bake) one(ctx context.Context, t *bakeTarget, change func(*build.Request)) error {
	req := t.request
	req.Contexts = maps.Clone(req.Contexts)
	for name, other := range t.Links {
		b.mu.Lock()
		built := b.results[other]
		b.mu.Unlock()
		req.Contexts[strings.ToLower(name)] = build.NamedContext{Kind: plan.ContextBuilt, Ref: built.ImageID.String()}
	}
	if t.Inline != nil {
		req.Stdin = strings.NewReader(*t.Inline)
	}
	change(&req)
	res, err := build.Build(ctx, b.session, req)
	if err == nil {
		err = t.options.AddToList(ctx, b.session, res)
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if before, again := b.results[t.Name]; again {
		res.Why = before.Why // the second time all steps are cached
	}
	b.results[t.Name] = res
	return nil
}

// writeMetadata writes what is known of each target that was built.
func (b *bake) writeMetadata(ctx context.Context) error {
	if b.options.metadataFile == "" {
		return nil
	}
	all := map[string]any{}
	for _, t := range b.targets {
		if res, ok := b.results[t.Name]; ok && res.ImageID != digest.Digest("") {
			all[t.Name] = buildcmd.Metadata(res)
		}
	}
	if err := buildcmd.WriteJSON(ctx, b.options.metadataFile, all); err != nil {
		return fmt.Errorf("--metadata-file: %w", err)
	}
	return nil
}
