package buildflags

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
	"github.com/cooperbuild/cooper/imagebuilder/annotation"
)

// envLayers is where podman and buildah look for --layers.
const envLayers = "BUILDAH_LAYERS"

// finish are the flags about the layers, the history and the annotations of a finished image, as they are written.
type finish struct {
	squash, squashAll  bool
	layers             bool
	layersGiven        *pflag.Flag
	omitHistory        bool
	annotations, unset []string
	inherit, dated     bool
	saves, labels      bool
	speaks             dialect.Dialect
}

func (l *finish) register(f *pflag.FlagSet) {
	f.BoolVar(&l.squash, "squash", false, "make one layer of those that the build adds to the base image")
	f.BoolVar(&l.squashAll, "squash-all", false, "make one layer of all, those of the base image too")
	f.BoolVar(&l.layers, "layers", true, "keep a layer for each step; --layers=false is --squash (default $"+envLayers+")")
	l.layersGiven = f.Lookup("layers")
	f.BoolVar(&l.omitHistory, "omit-history", false, "make an image without a history")
	f.StringArrayVar(&l.annotations, "annotation", nil,
		"annotation of the manifest, KEY=VALUE; or elsewhere: [PLACE[,PLACE]:]KEY=VALUE, of index, manifest, "+
			"manifest-descriptor, index-descriptor or manifest[PLATFORM]")
	f.StringArrayVar(&l.unset, "unsetannotation", nil, "annotation that isn't taken over from the base image")
	f.BoolVar(&l.inherit, "inherit-annotations", false, "give the image the annotations of its base image")
	f.BoolVar(&l.dated, "created-annotation", false, "give the image the annotation that says when it was made")
	f.BoolVar(&l.saves, "save-stages", false, "keep an image of each stage that the target needs")
	f.BoolVar(&l.labels, "stage-labels", false, "with --save-stages: give these images and the finished one the labels "+
		"io.buildah.stage.name and io.buildah.stage.base")
}

// options reads the flags.
func (l *finish) options() (o build.ImageOptions, err error) {
	l.unset = separated(l.unset)
	o = build.ImageOptions{
		OmitHistory: l.omitHistory, InheritAnnotations: l.inherit, BaseAnnotations: l.speaks.Containers(),
		DateAnnotation: l.dated, UnsetAnnotations: l.unset, SaveStages: l.saves, LabelStages: l.labels,
	}
	if l.labels && !l.saves {
		return o, command.Usagef(`"--stage-labels" requires "--save-stages"`)
	}
	for _, text := range l.annotations {
		if !strings.Contains(text, "=") {
			text += "=" // as in podman, which takes a key alone
		}
		set, err := annotation.OfFlag(text)
		if err != nil {
			return o, command.Usagef("--annotation %w", err)
		}
		o.Annotations = append(o.Annotations, set...)
	}
	for _, a := range o.Annotations {
		if a.Place == annotation.Manifest && slices.Contains(l.unset, a.Key) {
			return o, command.Usagef("--annotation and --unsetannotation contradict each other: %s", a.Key)
		}
	}
	o.Squash, err = l.squashed()
	return o, err
}

// squashed says which layers become one.
func (l *finish) squashed() (build.Squash, error) {
	given := l.layersGiven != nil && l.layersGiven.Changed
	layers := given && l.layers || !given && l.speaks != dialect.Buildah
	if text := os.Getenv(envLayers); !given && text != "" {
		is, err := strconv.ParseBool(text)
		if err != nil {
			return build.SquashNone, command.Usagef("%s=%s: must be true or false", envLayers, text)
		}
		layers = is
	}
	switch {
	case l.squash && l.squashAll:
		return build.SquashNone, command.Usagef("--squash and --squash-all contradict each other: give one of them")
	case l.squash && given && l.layers:
		return build.SquashNone, command.Usagef("--squash and --layers contradict each other: give one of them")
	case l.squashAll, l.squash && l.speaks == dialect.Buildah:
		return build.SquashAll, nil
	case l.squash || !layers:
		return build.SquashNew, nil
	}
	return build.SquashNone, nil
}
