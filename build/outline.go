package build

import (
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// outline is the plan as the Dockerfile has it: its stages, each with all of its instructions, those that are no step
// among them.
func (p planned) outline(df *dockerfile.File) (shown progress.Planned) {
	type place struct {
		stage *plan.Stage
		line  int
	}
	steps := map[place]*plan.Step{}
	for _, s := range p.graph.Steps {
		if at := (place{s.Stage, s.Location.StartLine}); steps[at] == nil {
			steps[at] = s
		}
	}
	number := map[string]int{} // of stages by platform
	for _, stage := range p.graph.Stages {
		platforms := stage.Last.Platforms
		number[platforms]++
		parsed := df.Stages[stage.Index]
		total := len(parsed.Commands) + 1
		add := func(n int, at dockerfile.Location) {
			i := progress.Instruction{Platforms: platforms, Stage: number[platforms], Stages: p.stages, Number: n, Total: total,
				Text: plan.FirstLine(df.Text(at))}
			if s := steps[place{stage, at.StartLine}]; s != nil {
				_, config := s.Op.(*plan.Config)
				base, based := s.Op.(*plan.Base)
				i.ID, i.IsStep, i.Text = s.ID, !config && !(based && base.Ref == ""), plan.FirstLine(s.Text)
			}
			shown.Instructions = append(shown.Instructions, i)
		}
		add(1, df.Location(parsed.Location))
		for n, command := range parsed.Commands {
			add(n+2, df.Location(command.Location()))
		}
	}
	return shown
}
