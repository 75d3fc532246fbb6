package inputs

import (
	"strconv"

	"github.com/cooperbuild/cooper/build/progress"
)

// NoteArgs says which of BuildKit's build arguments ask for what this program doesn't have. They are in many CI files,
// so they are no errors.
func NoteArgs(args map[string]*string, to progress.Sink) {
	for _, name := range []string{"BUILDKIT_INLINE_CACHE", "BUILDKIT_MULTI_PLATFORM"} {
		arg := args[name]
		if arg == nil {
			continue
		}
		if on, err := strconv.ParseBool(*arg); err == nil && on {
			to.Emit(progress.Note{Text: "--build-arg " + name + " has no effect"})
		}
	}
}
