package outputs

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/push"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/imagebuilder/annotation"
	"github.com/cooperbuild/cooper/internal/guard"
)

// PushesOptions say which images a build pushes, and to which names.
type PushesOptions struct {
	Layers  Layers
	Origins Finder
	Cache   *cache.Cache
	// Blobs has compressed layers.
	Blobs    *blobs.Room
	Registry registry.Options
	// Retries say how often each push is tried again.
	Retries registry.Retries
	// Specs are all outputs of the build, pushed or not; Tags are the names that the user gives the image.
	Specs []export.Spec
	// Annotations are ImageOptions.Annotations.
	Annotations annotation.Set
	Tags        []string
	Shown       progress.Asides
}

// Pushes are what one build pushes. A layer of the image is compressed and sent as soon as it is in the store, while
// later steps run; manifests and tags come when the build is done. It is safe for concurrent use.
type Pushes struct {
	PushesOptions
	ctx    context.Context //nolint:containedctx // layers are sent in the background under it
	cancel context.CancelFunc
	// steps are the steps whose layers are in the images.
	steps   map[*plan.Step]bool
	running sync.WaitGroup

	mu sync.Mutex
	// begun are the pushes that were opened: begin opens all when the first layer is ready, or at the end.
	begun []*Pushing
	err   error
	// finishing says that all steps are done and finish has been called.
	finishing bool
}

// NewPushes makes the pushes of images of stages; nil if there are none. The caller calls Close.
func NewPushes(ctx context.Context, o PushesOptions, targets []*plan.Stage) *Pushes {
	p := &Pushes{PushesOptions: o, steps: map[*plan.Step]bool{}}
	var specs []export.Spec
	for _, spec := range annotated(o.Specs, o.Annotations) {
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
		_ = guard.Call(func() error { // finish asks for the layer once more and returns its error
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

// begin opens the pushes, once.
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
			one, err = OpenPush(p.ctx, PushOptions{Layers: p.Layers, Origins: p.Origins, Cache: p.Cache, Blobs: p.Blobs,
				Registry: p.Registry, Retries: p.Retries, Spec: spec, To: to, Shown: p.Shown})
		}
		if p.err = err; err == nil {
			p.begun = append(p.begun, one)
		}
	}
	return p.begun, p.err
}

// finish sends the blobs and manifests that are still missing, and then sets the tags in all registries. It returns the
// digest of the manifest or index that was pushed last.
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

// Close cancels transfers that still run, and shows how each push ended. err is the error of the build.
func (p *Pushes) Close(ctx context.Context, err error) {
	if p == nil {
		return
	}
	p.cancel()
	p.running.Wait()
	if err != nil && !p.finishing {
		err = context.Canceled // the build has failed, and not the push
	}
	for _, to := range p.begun {
		to.End(ctx, err)
	}
}
