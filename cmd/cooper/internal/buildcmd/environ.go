package buildcmd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/engineload"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/stepflags"
)

// lookup finds a variable of the environment.
type lookup func(name string) (value string, ok bool)

// The variables of other builders that stand for flags, where these aren't given. docs/environment.md has all that
// count.
const (
	envPlatform  = "DOCKER_DEFAULT_PLATFORM"
	envProgress  = "BUILDKIT_PROGRESS"
	envIsolation = "BUILDAH_ISOLATION"
	envRuntime   = "BUILDAH_RUNTIME"
)

// takeEnvironment fills in the flags that variables stand for and notes the variables that mean something elsewhere and
// nothing here.
func (o *Options) takeEnvironment(get lookup) error {
	value := func(name string) string { v, _ := get(name); return v }
	if platform := value(envPlatform); len(o.platform.List) == 0 && platform != "" {
		o.platform.List, o.platform.From = []string{platform}, envPlatform
	}
	if view := value(envProgress); view != "" && o.progress == "" {
		if _, err := show.ParseMode(view); err != nil {
			return command.Usagef("%s: %w", envProgress, err)
		}
		o.progress = view
	}
	if isolation := value(envIsolation); isolation == stepflags.IsolationOCI && o.Run.Isolation == "" {
		o.Run.Isolation = isolation
	}
	if runtime := value(envRuntime); runtime != "" && o.Run.Isolation == stepflags.IsolationOCI && o.Run.Runtime == "" {
		o.Run.Runtime = runtime
	}
	for _, v := range otherVariables() {
		text, ok := get(v.name)
		if !ok || text == "" || v.harmless != nil && v.harmless(o, text) {
			continue
		}
		o.Notes = append(o.Notes, fmt.Sprintf("%s=%s has no effect: %s", v.name, shownValue(text), v.because))
	}
	return nil
}

// shownValue cuts a value that is none of ours short; it is shown on one line in any case.
func shownValue(text string) string {
	const most = 40
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}

// otherVariable is one that changes what another builder does. harmless tells, if it isn't nil, that a value asks for
// what is done anyhow, or that flags say what it would.
type otherVariable struct {
	name, because string
	harmless      func(o *Options, value string) bool
}

func otherVariables() []otherVariable {
	oneOf := func(values ...string) func(*Options, string) bool {
		return func(_ *Options, text string) bool {
			for _, v := range values {
				if strings.EqualFold(text, v) {
					return true
				}
			}
			return false
		}
	}
	const noDaemon = "cooper builds here, by itself, and not in a daemon or on another machine"
	return []otherVariable{
		{"DOCKER_BUILDKIT", "there is one builder, with BuildKit's language", oneOf("1", "true")},
		{engineload.EnvHost, noDaemon, func(o *Options, _ string) bool { return o.Loads() }},
		{"DOCKER_CONTEXT", noDaemon, oneOf("default")},
		{"CONTAINER_HOST", noDaemon, nil},
		{"BUILDKIT_HOST", noDaemon, nil},
		{"BUILDX_BUILDER", noDaemon, oneOf("default")},
		{"DOCKER_CONTENT_TRUST", "policy.json says which images are trusted", oneOf("0", "false")},
		{"BUILDKIT_COLORS", "NO_COLOR takes the colours out", nil},
		{envIsolation, "every RUN step has namespaces of its own, also without root; the variable may be oci, for an OCI runtime",
			func(o *Options, text string) bool {
				return o.Run.Isolation != "" || slices.Contains([]string{stepflags.IsolationOCI, "rootless", "chroot", "default"},
					text)
			}},
		{envRuntime, "without --isolation=oci cooper runs the steps itself",
			func(o *Options, _ string) bool {
				return o.Run.Isolation == stepflags.IsolationOCI || o.Run.Runtime != ""
			}},
		{"BUILDAH_NOPIVOT", "steps always pivot into their root", oneOf("0", "false")},
	}
}
