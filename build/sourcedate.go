package build

import (
	"fmt"
	"strconv"
	"time"

	"github.com/cooperbuild/cooper/build/progress"
)

// sourceDateArg is the build argument by which the Dockerfile and its user limit the times in the image.
const sourceDateArg = "SOURCE_DATE_EPOCH"

// ParseSourceDate reads a SOURCE_DATE_EPOCH: seconds since 1970, or empty for none.
// https://reproducible-builds.org/specs/source-date-epoch/
func ParseSourceDate(text string) (*time.Time, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // no limit is a value
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return nil, fmt.Errorf("SOURCE_DATE_EPOCH=%s: must be seconds since 1970", text)
	}
	t := time.Unix(seconds, 0).UTC()
	return &t, nil
}

// sourceDate is the date that applies: planned, which the plan has found in the Dockerfile or the build arguments,
// takes precedence over the date of the request.
func (s settings) sourceDate(planned string) (*time.Time, error) {
	if _, given := s.BuildArgs[sourceDateArg]; !given && planned == "" {
		return s.SourceDate, nil
	}
	return ParseSourceDate(planned)
}

// noteArgs says which of BuildKit's build arguments ask for what this program doesn't have. They are in many CI files,
// so they are no errors.
func (s settings) noteArgs() {
	for _, name := range []string{"BUILDKIT_INLINE_CACHE", "BUILDKIT_MULTI_PLATFORM"} {
		arg := s.BuildArgs[name]
		if arg == nil {
			continue
		}
		if on, err := strconv.ParseBool(*arg); err == nil && on {
			s.Progress.Emit(progress.Note{Text: "--build-arg " + name + " has no effect"})
		}
	}
}
