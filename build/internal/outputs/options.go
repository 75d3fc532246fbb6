package outputs

import (
	"maps"
	"slices"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/annotation"
)

// ImageOptions say what is made of the finished stages. The zero value gives the image that the Dockerfile describes.
type ImageOptions struct {
	// Squash says which layers become one.
	Squash Squash
	// OmitHistory makes an image without a history.
	OmitHistory bool
	// Annotations are added to manifests, indexes and their entries, in the store and in outputs; those that an output has
	// of its own win. Docker's format has none.
	Annotations annotation.Set
	// InheritAnnotations gives an image the annotations of its base, but for those named in UnsetAnnotations.
	// DateAnnotation gives it the one that says when it was made, BaseAnnotations those with the name and digest of its
	// base, as buildah does.
	InheritAnnotations, DateAnnotation, BaseAnnotations bool
	UnsetAnnotations                                    []string
	// SaveStages keeps an image of each stage that the target needs, LabelStages gives these and the finished image labels
	// that say which stage they are of.
	SaveStages, LabelStages bool
}

// annotated gives outputs the annotations of the image. Docker's formats have none.
func annotated(specs []export.Spec, set annotation.Set) []export.Spec {
	if len(set) == 0 {
		return specs
	}
	specs = slices.Clone(specs)
	for i, spec := range specs {
		if !spec.HoldsFiles() && spec.Type != export.TypeDocker &&
			(spec.Push == nil || spec.Push.Format != imagebuilder.Docker) {
			specs[i].Annotations = slices.Concat(set, spec.Annotations)
		}
	}
	return specs
}

// annotations are those of the manifest of a target's image besides Annotations; nil if there are none.
func (o ImageOptions) annotations(target *plan.Stage, created time.Time) map[string]string {
	all := map[string]string{}
	if base, ok := firstStep(target).Op.(*plan.Base); ok {
		if o.InheritAnnotations {
			maps.Copy(all, base.Image.Annotations)
		}
		if o.BaseAnnotations && base.Ref != "" {
			all[ocispec.AnnotationBaseImageName] = base.Image.Name
			all[ocispec.AnnotationBaseImageDigest] = base.Image.Digest.String()
		}
	}
	if o.DateAnnotation {
		all[ocispec.AnnotationCreated] = created.UTC().Format(time.RFC3339)
	}
	for _, key := range o.UnsetAnnotations {
		delete(all, key)
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// firstStep is the step that the chain of a stage begins with: its base, or that of a stage below.
func firstStep(stage *plan.Stage) *plan.Step {
	s := stage.Last
	for s.Parent != nil {
		s = s.Parent
	}
	return s
}

// merged are two maps in one, in which the second wins; nil if both are empty.
func merged(a, b map[string]string) map[string]string {
	if len(b) == 0 {
		return a
	}
	all := maps.Clone(b)
	for key, value := range a {
		if _, there := b[key]; !there {
			all[key] = value
		}
	}
	return all
}
