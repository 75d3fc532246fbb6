package outputs

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// The labels by which buildah says of the image of a stage which stage it is of, and what that was built on.
const (
	labelStageName = "io.buildah.stage.name"
	labelStageBase = "io.buildah.stage.base"
)

// SaveStages records an image without a name for each stage but the targets, if the build is asked for that. The stages
// are in file order. It is called before [Room.Finish], which names the images of stages in labels.
func (b Room) SaveStages(ctx context.Context, stages, targets []*plan.Stage, roots []*rootfs.Root) error {
	if !b.Image.SaveStages {
		return nil
	}
	for _, stage := range stages {
		if slices.Contains(targets, stage) {
			continue
		}
		m, err := b.makeImage(ctx, stage, roots, nil)
		if err != nil {
			return err
		}
		m.record.Keep, m.record.Asked = true, true
		if _, _, err := b.Images.Put(ctx, m.record); err != nil {
			return fmt.Errorf("save stage %s: %w", stage.Name, err)
		}
		b.saved[stage] = digest.FromBytes(m.image.Config)
	}
	return nil
}

// labelled is the image of a stage with the labels that say which it is, and its history with their entry.
func (b Room) labelled(stage *plan.Stage, history []imagebuilder.History) (imagebuilder.Image, []imagebuilder.History) {
	if !b.Image.LabelStages {
		return stage.Image, history
	}
	base := b.baseOf(stage)
	if !b.Image.OmitHistory {
		history = append(slices.Clip(history), imagebuilder.History{
			CreatedBy:  fmt.Sprintf("LABEL %q=%q %q=%q", labelStageName, stage.Name, labelStageBase, base),
			EmptyLayer: true,
		})
	}
	return stage.Image.WithLabels(map[string]string{labelStageName: stage.Name, labelStageBase: base}), history
}

// baseOf is what a stage was built on: the name of an image as FROM has it, scratch, or the ID of the image of another
// stage.
func (b Room) baseOf(stage *plan.Stage) string {
	s := stage.Last
	for s.Stage == stage && s.Parent != nil {
		s = s.Parent
	}
	if id, saved := b.saved[s.Stage]; saved && s.Stage != stage {
		return id.Encoded()
	}
	if base, ok := s.Op.(*plan.Base); ok && base.Ref != "" {
		return base.Ref
	}
	return "scratch"
}
