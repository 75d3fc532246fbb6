package progress

// Planned says what a build is going to do, before the first step starts. A later one takes the place of the one
// before: the build begins anew.
type Planned struct {
	Instructions []Instruction
	// Platforms are those of the images, at least one, as in linux/arm64.
	Platforms []string
}

// Instruction is an instruction of a stage that a build needs.
type Instruction struct {
	// ID is the ID of the step that carries it out, if IsStep.
	ID int
	// IsStep tells whether there is such a step. All other instructions change nothing but the image's config.
	IsStep bool
	// Platforms is what the stage is for in a build for several platforms, else empty.
	Platforms string
	// For are the platforms of the images that need the stage, as in Planned.Platforms; none: all do.
	For []string
	// Stage and Number count from 1 the stages of the build and the instructions of the stage, FROM among them; Stages and
	// Total are how many there are.
	Stage, Stages, Number, Total int
	// Text is the instruction, without secrets.
	Text string
}

// Committed says that the image is complete; ID is its ID without sha256:.
type Committed struct{ ID string }

func (Planned) event()   {}
func (Committed) event() {}
