package build

import (
	"fmt"
	"strconv"
	"time"

	"github.com/cooperbuild/cooper/build/progress"
)

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

// setSourceDate takes over the date that the Dockerfile or a build argument gives.
func (b *builder) setSourceDate(planned string) error {
	if _, given := b.req.BuildArgs["SOURCE_DATE_EPOCH"]; !given && planned == "" {
		return nil
	}
	date, err := ParseSourceDate(planned)
	if err != nil {
		return err
	}
	b.req.SourceDate = date
	return nil
}

// noteArgs says which of BuildKit's build arguments ask for what this program doesn't have. They are in many CI files,
// so they are no errors.
func (b *builder) noteArgs() {
	for _, name := range []string{"BUILDKIT_INLINE_CACHE", "BUILDKIT_MULTI_PLATFORM"} {
		arg := b.req.BuildArgs[name]
		if arg == nil {
			continue
		}
		if on, err := strconv.ParseBool(*arg); err == nil && on {
			b.req.Progress.Emit(progress.Note{Text: "--build-arg " + name + " has no effect"})
		}
	}
}
