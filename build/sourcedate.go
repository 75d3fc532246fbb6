package build

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
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

// maxTimestamp is the end of the year 9999, the last that a record's time can have.
const maxTimestamp = 253402300799

// ParseTimestamp reads a time as seconds since 1970, for all files and records of an image.
func ParseTimestamp(text string) (time.Time, error) {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 || seconds > maxTimestamp {
		return time.Time{}, fmt.Errorf("%q: must be seconds since 1970, up to the year 9999", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// ContextDate is the SOURCE_DATE_EPOCH that stands for the date of the context: that of a repository's commit, what the
// server of a URL says, or that of the newest file in an archive.
const ContextDate = plan.ContextDate

// contextDate gives the function by which a plan finds the date of the context, as SOURCE_DATE_EPOCH has it. Several
// plans of one build find it once.
func (o opened) contextDate(to progress.Sink) func(ctx context.Context) (string, error) {
	var found *string
	return func(ctx context.Context) (string, error) {
		if found != nil {
			return *found, nil
		}
		date, err := o.contexts.Date(ctx)
		if err != nil {
			return "", err
		}
		text := ""
		if date == nil {
			to.Emit(progress.Note{Text: sourceDateArg + "=" + ContextDate + " has no effect: only a commit, a URL or an archive " +
				"has a date"})
		} else {
			text = strconv.FormatInt(date.Unix(), 10)
		}
		found = &text
		return text, nil
	}
}

// date is the date that applies: the timestamp of the request, or else planned, which the plan has found in the
// Dockerfile or the build arguments, or else the source date of the request.
func (s settings) date(planned string) (*layer.Date, error) {
	if s.Timestamp != nil {
		return &layer.Date{Time: *s.Timestamp, Exact: true}, nil
	}
	limit := s.SourceDate
	if _, given := s.BuildArgs[sourceDateArg]; given || planned != "" {
		var err error
		if limit, err = ParseSourceDate(planned); err != nil {
			return nil, err
		}
	}
	if limit == nil {
		return nil, nil //nolint:nilnil // no date is a value
	}
	return &layer.Date{Time: *limit}, nil
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
