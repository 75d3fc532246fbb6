package kaniko

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/given"
)

// Is tells whether the program is called by the name of kaniko's.
func Is(argv0 string) bool { return filepath.Base(argv0) == "executor" }

// usualContext is the context where none is given.
const usualContext = "/workspace/"

// Args are the arguments of kaniko's executor.
type Args struct{ values map[string]*given.Values }

// Register adds all flags.
func Register(f *pflag.FlagSet) *Args {
	a := &Args{values: map[string]*given.Values{}}
	for _, row := range Flags() {
		v := &given.Values{Switch: row.Switch}
		text := row.Text
		switch row.Kind {
		case Same:
			text = "as cooper build has it"
		case Vain:
			text = "without effect: " + text
		case Refused:
			text = "refused: " + text
		}
		given.Add(f, v, row.Name, row.Short, text)
		a.values[row.Name] = v
	}
	return a
}

// last is the value of the first of some flags that was given, the last one that it was given.
func (a *Args) last(names ...string) string {
	for _, name := range names {
		if given := a.values[name].All; len(given) > 0 {
			return given[len(given)-1]
		}
	}
	return ""
}

func (a *Args) is(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return a.last(name) == "true" })
}

// Build is what is built: the flags of cooper build, and its argument.
type Build struct {
	Flags   []string
	Context string
	// Files are what is written when the image is built.
	Files Files
}

// Files are the paths of files about the image; empty: there is none.
type Files struct{ Digest, Name, Tag string }

// Build makes a build of the arguments. exists tells whether there is a file at a path.
func (a *Args) Build(exists func(path string) bool) (b Build, err error) {
	for _, row := range Flags() {
		if v := a.values[row.Name]; row.Kind == Refused && len(v.All) > 0 {
			return b, fmt.Errorf("--%s is not supported: %s\nhint: %s", row.Name, row.Text, row.Way)
		}
	}
	var dir bool
	if b.Context, dir, err = a.context(); err != nil {
		return b, err
	}
	for _, row := range Flags() {
		if row.Kind == Same {
			for _, text := range a.values[row.Name].All {
				b.Flags = append(b.Flags, "--"+row.Name+"="+text)
			}
		}
	}
	add := func(when bool, flag string) {
		if when {
			b.Flags = append(b.Flags, flag)
		}
	}
	if file := a.last("dockerfile"); file != "" {
		if dir && !exists(file) && !strings.Contains(file, "://") { // kaniko looks in its own directory first
			file = filepath.Join(b.Context, file)
		}
		add(true, "--file="+file)
	}
	if ignore := a.last("dockerignore-file"); ignore != "" {
		add(true, "--ignorefile="+ignore)
	}
	if platform := a.last("custom-platform", "customPlatform"); platform != "" {
		add(true, "--platform="+platform)
	}
	add(a.is("reproducible"), "--timestamp=0")
	add(a.is("single-snapshot"), "--squash")
	add(a.insecure(), "--tls-verify=false")
	add(slices.Contains([]string{"error", "fatal", "panic"}, a.last("verbosity")), "--quiet")
	add(a.last("log-format") == "json", "--progress=json")
	if times := a.last("push-retry", "image-download-retry"); times != "" {
		add(true, "--retry="+times)
	}
	outputs, err := a.outputs()
	if err != nil {
		return b, err
	}
	b.Flags = append(b.Flags, outputs...)
	b.Flags = append(b.Flags, a.cache()...)
	b.Files = Files{Digest: a.last("digest-file"), Name: a.last("image-name-with-digest-file"),
		Tag: a.last("image-name-tag-with-digest-file")}
	return b, nil
}

// insecure tells whether connections to registries need not be safe.
func (a *Args) insecure() bool {
	return a.is("insecure", "insecure-pull", "skip-tls-verify", "skip-tls-verify-pull") ||
		a.last("insecure-registry", "skip-tls-verify-registry") != ""
}

// Destinations are the names of the image.
func (a *Args) Destinations() []string { return a.values["destination"].All }

// outputs are the flags that say what becomes of the image.
func (a *Args) outputs() (flags []string, err error) {
	push := !a.is("no-push")
	if push && len(a.Destinations()) == 0 {
		return nil, fmt.Errorf("there is no --destination\nhint: --no-push leaves the image in the store")
	}
	for _, name := range a.Destinations() {
		flags = append(flags, "--tag="+name)
	}
	if push {
		output := "type=registry"
		for _, key := range []string{"compression", "compression-level"} {
			if text := a.last(key); text != "" && text != "-1" {
				output += "," + key + "=" + text
			}
		}
		flags = append(flags, "--output="+output)
	}
	if dir := a.last("oci-layout-path"); dir != "" {
		flags = append(flags, "--output=type=oci,tar=false,dest="+dir)
	}
	if file := a.last("tar-path", "tarPath"); file != "" {
		flags = append(flags, "--output=type=docker,dest="+file)
	}
	return flags, nil
}

// cache are the flags for the cache in a registry, which is beside the first destination unless its place is given.
func (a *Args) cache() (flags []string) {
	repository := a.last("cache-repo")
	if !a.is("cache") {
		return nil
	}
	if repository == "" && len(a.Destinations()) > 0 {
		repository, _, _ = strings.Cut(a.Destinations()[0], "@")
		if n := strings.LastIndexByte(repository, ':'); n > strings.LastIndexByte(repository, '/') {
			repository = repository[:n]
		}
		repository += "/cache"
	}
	if repository == "" {
		return nil // what this machine has is found in any case
	}
	flags = append(flags, "--cache-from="+repository)
	if !a.is("no-push-cache") && !a.is("no-push") {
		flags = append(flags, "--cache-to="+repository)
	}
	return flags
}

// context is the argument of cooper build; dir says that it is a directory of this machine.
func (a *Args) context() (text string, dir bool, err error) {
	sub := a.last("context-sub-path")
	if text = a.last("context"); text == "" {
		text = usualContext
	}
	scheme, rest, ok := strings.Cut(text, "://")
	switch {
	case !ok, scheme == "dir":
		if ok {
			text = rest
		}
		return filepath.Join(text, sub), true, nil
	case scheme == "git", scheme == "https" && strings.Contains(rest, ".git"):
		return gitContext(rest, sub), false, nil
	case sub != "":
		return "", false, fmt.Errorf("--context-sub-path: the context %s:// has no directories to choose from", scheme)
	case scheme == "tar" && rest == "stdin":
		return "-", false, nil
	case scheme == "tar":
		return rest, false, nil
	case scheme == "https":
		return text, false, nil
	}
	return "", false, fmt.Errorf(
		"--context=%s: there is no %s:// context\nhint: fetch it before the build, and give its directory, "+
			"or tar://stdin", text, scheme)
}

// gitContext makes HOST/PATH#REF#COMMIT, as kaniko writes it, the URL of a repository, with the directory in it.
func gitContext(rest, sub string) string {
	repository, ref, _ := strings.Cut(rest, "#")
	if n := strings.LastIndexByte(ref, '#'); n >= 0 {
		ref = ref[n+1:]
	}
	url := "https://" + repository
	if ref != "" || sub != "" {
		url += "#" + ref
	}
	if sub != "" {
		url += ":" + sub
	}
	return url
}
