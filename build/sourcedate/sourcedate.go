// Package sourcedate finds the time that files and records of an image have: SOURCE_DATE_EPOCH, of the user, the
// Dockerfile or the context, or a timestamp for all of them.
package sourcedate

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// Arg is the build argument by which the Dockerfile and its user limit the times in the image.
const Arg = "SOURCE_DATE_EPOCH"

// Parse reads a SOURCE_DATE_EPOCH: seconds since 1970, or empty for none.
// https://reproducible-builds.org/specs/source-date-epoch/
func Parse(text string) (*time.Time, error) {
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

// Context is the SOURCE_DATE_EPOCH that stands for the date of the context: that of a repository's commit, what the
// server of a URL says, or that of the newest file in an archive.
const Context = plan.ContextDate

// Dated are contexts; Date is nil for those that have none.
type Dated interface {
	Date(ctx context.Context) (*time.Time, error)
}

// OfContext gives the function by which a plan finds the date of the context, as SOURCE_DATE_EPOCH has it. Several
// plans of one build find it once.
func OfContext(contexts Dated, to progress.Sink) func(ctx context.Context) (string, error) {
	var found *string
	return func(ctx context.Context) (string, error) {
		if found != nil {
			return *found, nil
		}
		date, err := contexts.Date(ctx)
		if err != nil {
			return "", err
		}
		text := ""
		if date == nil {
			to.Emit(progress.Note{Text: Arg + "=" + Context + " has no effect: only a commit, a URL or an archive " +
				"has a date"})
		} else {
			text = strconv.FormatInt(date.Unix(), 10)
		}
		found = &text
		return text, nil
	}
}

// Asked is what the user asks for.
type Asked struct {
	// Timestamp is the time of all files and records; nil: they keep theirs.
	Timestamp *time.Time
	// SourceDate is the latest time of files and records; nil: there is no limit.
	SourceDate *time.Time
	// Args are the build arguments.
	Args map[string]*string
}

// Date is the date that applies: the timestamp, or else planned, which the plan has found in the Dockerfile or the
// build arguments, or else the source date.
func (a Asked) Date(planned string) (*layer.Date, error) {
	if a.Timestamp != nil {
		return &layer.Date{Time: *a.Timestamp, Exact: true}, nil
	}
	limit := a.SourceDate
	if _, given := a.Args[Arg]; given || planned != "" {
		var err error
		if limit, err = Parse(planned); err != nil {
			return nil, err
		}
	}
	if limit == nil {
		return nil, nil //nolint:nilnil // no date is a value
	}
	return &layer.Date{Time: *limit}, nil
}
