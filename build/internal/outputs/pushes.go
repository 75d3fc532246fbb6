package outputs

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/push"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/internal/guard"
)

// PushesOptions say what a build pushes where.
type PushesOptions struct {
	Layers   Layers
	Origins  Finder
	Cache    *cache.Cache
	Registry registry.Options
	// Specs are all outputs, Tags the names that the user gives the image.
	Specs []export.Spec
	Tags  []string
	Shown progress.Asides
}

// Pushes are what one build pushes. A layer of the image is compressed and sent as soon as it is in the store, while
// later steps run; manifests and tags come when the build is done. It is safe for concurrent use.
type Pushes struct {
	PushesOptions
	ctx    context.Context //nolint:containedctx // it is that of the layers that are sent meanwhile
	cancel context.CancelFunc
	// steps are those whose layers the images have.
	steps   map[*plan.Step]bool
	running sync.WaitGroup

	mu sync.Mutex
	// begun are made when the first layer is there, or at the end.
	begun []*Pushing
	err   error
	// finishing says that the build has come to its pushes.
	finishing bool
}

// NewPushes makes the pushes of images of stages; nil if there are none. The caller calls Close.
func NewPushes(ctx context.Context, o PushesOptions, targets []*plan.Stage) *Pushes {
	p := &Pushes{PushesOptions: o, steps: map[*plan.Step]bool{}}
	var specs []export.Spec
	for _, spec := range o.Specs {
		if spec.Push != nil {
			specs = append(specs, spec)
		}
	}
	if p.Specs = specs; len(specs) == 0 {
		return nil
	}
	for _, target := range targets {
		for s := target.Last; s != nil; s = s.Parent {
			p.steps[s] = true
		}
	}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// Sealed begins to send a layer that a step has made, if the images have it.
func (p *Pushes) Sealed(s *plan.Step, l cache.Layer) {
	if p == nil || !p.steps[s] {
		return
	}
	p.running.Go(func() {
		_ = guard.Call(func() error { // who asks for the layer at the end learns what is wrong
			begun, err := p.begin()
			if err != nil {
				return err
			}
			layer := BlobsOf(p.Layers, []store.Layer{{ID: l.ID, Parent: l.Parent, DiffID: l.DiffID, Size: l.Size}})[0]
			for _, to := range begun {
				if _, err := to.Layer(p.ctx, layer); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// begin opens what is pushed to, once.
func (p *Pushes) begin() ([]*Pushing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, spec := range p.Specs[len(p.begun):] {
		if p.err != nil {
			break
		}
		to, err := PushNames(spec, p.Tags)
		var one *Pushing
		if err == nil {
			one, err = OpenPush(p.ctx, PushOptions{Layers: p.Layers, Origins: p.Origins, Cache: p.Cache, Registry: p.Registry,
				Spec: spec, To: to, Shown: p.Shown})
		}
		if p.err = err; err == nil {
			p.begun = append(p.begun, one)
		}
	}
	return p.begun, p.err
}

// finish sends what has not been sent, and then gives the images their tags in all places. It gives the digest of what
// was pushed last.
func (p *Pushes) finish(ctx context.Context, src push.Source) (last digest.Digest, err error) {
	p.finishing = true
	begun, err := p.begin()
	if err != nil {
		return "", err
	}
	var sent []*push.Sent
	for _, to := range begun {
		s, err := to.Send(ctx, src)
		if err != nil {
			return "", err
		}
		sent = append(sent, s)
	}
	for _, s := range sent {
		if err := s.Tag(ctx); err != nil {
			return "", err
		}
		last = s.Manifest().Digest
	}
	return last, nil
}

// Close ends what is still under way, and shows how it ended: err is how the build did.
func (p *Pushes) Close(ctx context.Context, err error) {
	if p == nil {
		return
	}
	p.cancel()
	p.running.Wait()
	if err != nil && !p.finishing {
		err = context.Canceled // it is not the push that has failed
	}
	for _, to := range p.begun {
		to.End(ctx, err)
	}
}
