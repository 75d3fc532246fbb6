package steps

import (
	"slices"

	"github.com/containerd/platforms"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// Outline is a plan as the Dockerfile has it: its stages, each with all of its instructions, those that are no step
// among them.
func (n Names) Outline(graph *plan.Graph, df *dockerfile.File) (shown progress.Planned) {
	type place struct {
		stage *plan.Stage
		at    dockerfile.Location
	}
	steps := map[place]*plan.Step{}
	for _, s := range graph.Steps {
		for _, platform := range wantedBy(s) {
			if !slices.Contains(shown.Platforms, platform) {
				shown.Platforms = append(shown.Platforms, platform)
			}
		}
		if at := (place{s.Stage, s.Location}); steps[at] == nil {
			steps[at] = s
		}
	}
	if shown.Platforms == nil { // there is one image
		shown.Platforms = []string{platforms.FormatAll(platforms.Normalize(graph.Target.Image.Platform))}
	}
	counts := map[string]int{} // of stages by platform
	for _, stage := range graph.Stages {
		shownFor := stage.Last.Platforms
		counts[shownFor]++
		parsed := df.Stages[stage.Index]
		total := len(parsed.Commands) + 1
		add := func(number int, at dockerfile.Location) {
			i := progress.Instruction{Platforms: shownFor, Stage: counts[shownFor], Stages: n.Stages, Number: number,
				Total: total, For: wantedBy(stage.Last),
				Text: plan.FirstLine(df.Text(at))}
			if s := steps[place{stage, at}]; s != nil {
				_, config := s.Op.(*plan.Config)
				base, based := s.Op.(*plan.Base)
				i.ID, i.IsStep = s.ID, !config && !(based && base.Ref == "")
				if !based { // FROM is shown with its name for the stage
					i.Text = plan.FirstLine(s.Text)
				}
			}
			shown.Instructions = append(shown.Instructions, i)
		}
		add(1, df.Location(parsed.Location))
		for k, command := range parsed.Commands {
			add(k+2, df.Location(command.Location()))
		}
	}
	return shown
}
