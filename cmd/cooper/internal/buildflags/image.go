package buildflags

import (
	"cmp"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

// identityLabel is the label that --identity-label adds; its value is the version of this program.
const identityLabel = "io.cooper.version"

// Image are the flags that change the image which the Dockerfile describes, as they are written.
type Image struct {
	labels, unsetLabels []string
	env, unsetEnv       []string
	from                string
	// Manifest is the name of the manifest list that the image is added to; empty: none.
	Manifest string
	// InheritLabels lets stages have the labels of what they start from.
	InheritLabels bool
	identity      bool
	osVersion     string
	osFeatures    []string
	// identityLabel and identityValue are the label in place of cooper's own; empty: cooper's own.
	identityLabel, identityValue string
	finished                     finish
}

// Register adds the flags.
func (i *Image) Register(f *pflag.FlagSet) {
	f.StringArrayVar(&i.labels, "label", nil, "label of the image, KEY=VALUE")
	f.StringArrayVar(&i.unsetLabels, "unsetlabel", nil, "label that the image doesn't have, whoever has set it")
	f.BoolVar(&i.InheritLabels, "inherit-labels", true, "let stages have the labels of the image or stage they start from")
	f.BoolVar(&i.identity, "identity-label", false, "give the image the label "+identityLabel+", the version of cooper")
	f.StringArrayVar(&i.env, "env", nil,
		"variable that each stage begins with, NAME=VALUE, or NAME to take it from the environment; ENV wins over it")
	f.StringArrayVar(&i.unsetEnv, "unsetenv", nil, "variable that the image doesn't have; RUN steps still see it")
	f.StringVar(&i.Manifest, "manifest", "", "manifest list to add the image to; it is made if it isn't there")
	f.StringVar(&i.from, "from", "", "image, named context or scratch in place of the name in the first FROM")
	f.StringVar(&i.osVersion, "os-version", "", "version of the operating system that the image asks for (Windows)")
	f.StringArrayVar(&i.osFeatures, "os-feature", nil,
		"feature of the operating system that the image asks for, or with - behind it, doesn't ask for (Windows)")
	i.finished.register(f)
}

// Speak sets the flags of f that weren't given to what they are in podman's and buildah's dialects.
func (i *Image) Speak(d dialect.Dialect, f *pflag.FlagSet) {
	for name, flag := range map[string]*bool{"inherit-annotations": &i.finished.inherit,
		"created-annotation": &i.finished.dated, "identity-label": &i.identity} {
		if !f.Changed(name) {
			*flag = true
		}
	}
	i.identityLabel, i.identityValue = "io.buildah.version", dialect.BuildahVersion
	i.finished.speaks = d
}

// Apply puts what the flags ask for into a request; version is that of this program.
func (i *Image) Apply(req *build.Request, version string) (err error) {
	if i.Manifest != "" {
		if err := build.CheckName(i.Manifest); err != nil {
			return command.Usagef("--manifest: %w", err)
		}
	}
	if req.Labels, err = command.ParsePairs("--label", i.labels); err != nil {
		return err
	}
	i.unsetLabels, i.unsetEnv = separated(i.unsetLabels), separated(i.unsetEnv)
	label := cmp.Or(i.identityLabel, identityLabel)
	if i.identity && (i.identityLabel == "" || !slices.Contains(i.unsetLabels, label)) { // a dialect's gives way
		req.Labels[label] = cmp.Or(i.identityValue, version)
	}
	for _, key := range i.unsetLabels {
		if _, set := req.Labels[key]; set && key != label {
			return command.Usagef("--label and --unsetlabel contradict each other: %s", key)
		} else if set {
			return command.Usagef("--identity-label and --unsetlabel=%s contradict each other", key)
		}
	}
	req.Changes = build.Changes{
		From: i.from, DropLabels: !i.InheritLabels, UnsetLabels: i.unsetLabels, UnsetEnv: i.unsetEnv,
		OSVersion: i.osVersion, OSFeatures: i.osFeatures,
	}
	if slices.Contains(slices.Concat(i.unsetLabels, i.unsetEnv), "") {
		return command.Usagef("--unsetenv and --unsetlabel: a name is missing")
	}
	if req.Changes.Env, err = parseEnv(i.env); err != nil {
		return err
	}
	req.Image, err = i.finished.options()
	return err
}

// separated takes NAME,NAME apart. An empty text stays one name, which is refused.
func separated(texts []string) (names []string) {
	for _, text := range texts {
		names = append(names, strings.Split(text, ",")...)
	}
	return names
}

// parseEnv reads the values of --env. One without a value takes it from the environment, and is left out if that has
// none.
func parseEnv(texts []string) (env []string, err error) {
	for _, text := range texts {
		name, _, given := strings.Cut(text, "=")
		if name == "" {
			return nil, command.Usagef("--env %q: must be NAME=VALUE or NAME", text)
		}
		if !given {
			value, ok := os.LookupEnv(name)
			if !ok {
				continue
			}
			text = name + "=" + value
		}
		env = append(env, text)
	}
	return env, nil
}
