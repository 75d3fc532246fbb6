package plan

import (
	"strconv"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

const scratch = "scratch"

// originKind says what kind of thing an origin is.
type originKind int

const (
	originNone originKind = iota
	originScratch
	originStage
	originContext
	originImage
)

// origin is what a FROM, COPY --from or RUN --mount=from= names, resolved to a stage, a context or an image.
type origin struct {
	kind originKind
	// name is the stage or image as written, or the key of a context in Options.Contexts.
	name string
	// ref is the reference of an image for the Resolver. place tells that it begins with LayoutRef, TargetRef or
	// BuiltRef, so that it is no image name.
	ref   string
	place bool
	stage *stage
}

// argument is an ARG of a stage; value is empty if it has none.
type argument struct{ name, value string }

// instruction is an instruction of a stage, with the origins that it takes files from: one for COPY --from, one for
// each mount of RUN. onBuild tells that it is from the ONBUILD of a base image.
type instruction struct {
	instructions.Command
	origins []origin
	onBuild bool
}

// stage is a Stage that is being planned.
type stage struct {
	index int
	src   instructions.Stage
	base  origin
	// loc is the place of the FROM.
	loc dockerfile.Location
	// platform is the one that --platform of the FROM asks for, or else Options.Platform.
	platform ocispec.Platform
	// replaced tells that a named context replaces the whole stage.
	replaced bool
	commands []instruction
	// after are the stages that FROM asks to be done before.
	after []*stage
	// fresh tells that the steps are to be done whatever the cache has.
	fresh bool
	// needed tells that the target needs the stage, triggered that the base's ONBUILD instructions were put into commands,
	// unknownBase that the resolver doesn't have the image that the stage is based on, directly or through other stages.
	needed, triggered, unknownBase bool
	out                            *Stage

	// The fields below are the state of staging.plan and change with each instruction. image is the config so far.
	image imagebuilder.Draft
	// changing is the config that the latest steps share, as long as they are Config steps; nil after any other step.
	changing *imagebuilder.Image
	env      *variables
	// runEnv is the latest result of running.runEnv. It is valid as long as env.sets is runEnvSets.
	runEnv     []string
	runEnvSets int
	args       []argument
	last       *Step
	once       map[string][]parser.Range
	// hasCmd tells that a CMD of this stage was planned, hasWorkdir a WORKDIR of this stage or of one that it is based on.
	hasCmd, hasWorkdir bool
	// counted is how many numbered steps the stage has so far.
	counted int
}

func (st *stage) name() string {
	if st.src.Name != "" {
		return st.src.Name
	}
	return strconv.Itoa(st.index)
}
