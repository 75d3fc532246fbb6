package catalog

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// none is shown in place of a repository or tag that an image doesn't have.
const none = "<none>"

// Filters select images. Of several filters with the same key an image has to pass one, but it must have all labels,
// and pass none of those that are written KEY!=VALUE. The zero value selects every image.
type Filters struct {
	dangling *bool
	// references are patterns that names of the image may fit.
	references []string
	labels     []label
	// before and since are names of images: those selected are older or newer than these.
	before, since []string
	// tests are what else an image has to pass, by the key of the filter, and not what it must not pass.
	tests map[string][]func(images.Listed) bool
	not   []func(images.Listed) bool
}

type label struct {
	key, value string
	// any says that the label may have any value.
	any bool
}

// FilterKeys are the keys that a filter can have.
func FilterKeys() []string {
	return []string{"before", "containers", "dangling", "digest", "id", "intermediate", "label", "manifest", "readonly",
		"reference", "since", "until"}
}

// ParseFilters reads filters as KEY=VALUE, or KEY!=VALUE for the opposite.
func ParseFilters(texts []string) (f Filters, err error) {
	now := time.Now()
	for _, text := range texts {
		key, value, given := strings.Cut(text, "=")
		if !given || value == "" {
			return f, fmt.Errorf("%q: must be KEY=VALUE", text)
		}
		if key, opposite := strings.CutSuffix(key, "!"); opposite {
			err = f.exclude(key, value, now)
		} else {
			err = f.add(key, value, now)
		}
		switch {
		case errors.Is(err, errKey):
			return f, fmt.Errorf("%q: the keys are %s", text, strings.Join(FilterKeys(), ", "))
		case err != nil:
			return f, fmt.Errorf("%q: %w", text, err)
		}
	}
	return f, nil
}

// errKey says that there is no filter of a key.
var errKey = errors.New("no such key")

// add adds the filter KEY=VALUE.
func (f *Filters) add(key, value string, now time.Time) error {
	switch key {
	case "dangling":
		is, err := strconv.ParseBool(value)
		if err != nil {
			return errNoBool
		}
		f.dangling = &is
	case "reference":
		return f.AddReference(value)
	case "label":
		f.labels = append(f.labels, labelOf(value))
	case "before":
		f.before = append(f.before, value)
	case "since", "after":
		f.since = append(f.since, value)
	default:
		test, err := testOf(key, value, now)
		if err != nil {
			return err
		}
		if f.tests == nil {
			f.tests = map[string][]func(images.Listed) bool{}
		}
		f.tests[key] = append(f.tests[key], test)
	}
	return nil
}

// exclude adds the filter KEY!=VALUE.
func (f *Filters) exclude(key, value string, now time.Time) (err error) {
	var test func(images.Listed) bool
	switch key {
	case "dangling":
		if err = f.add(key, value, now); err == nil {
			*f.dangling = !*f.dangling
		}
		return err
	case "reference":
		if _, err := path.Match(value, ""); err != nil {
			return fmt.Errorf("reference %q: %w", value, err)
		}
		test = func(l images.Listed) bool {
			return slices.ContainsFunc(l.Names, func(n string) bool { return fits(value, n) })
		}
	case "label":
		test = labelOf(value).on
	case "before", "since", "after":
		return errors.New("has no opposite: give the other of before and since")
	default:
		if test, err = testOf(key, value, now); err != nil {
			return err
		}
	}
	f.not = append(f.not, test)
	return nil
}

// labelOf reads KEY or KEY=VALUE.
func labelOf(text string) label {
	key, value, exact := strings.Cut(text, "=")
	return label{key, value, !exact}
}

// on tells whether an image has the label.
func (want label) on(l images.Listed) bool {
	value, has := l.Image.Config.Labels[want.key]
	return has && (want.any || value == want.value)
}

// testOf makes a test of a filter.
func testOf(key, value string, now time.Time) (func(images.Listed) bool, error) {
	switch key {
	case "id":
		return func(l images.Listed) bool { return strings.HasPrefix(l.ID, strings.TrimPrefix(value, "sha256:")) }, nil
	case "digest":
		return func(l images.Listed) bool {
			return slices.ContainsFunc(append(slices.Clip(l.Digests), l.Digest), func(d digest.Digest) bool {
				return strings.HasPrefix(d.String(), value) || strings.HasPrefix(d.String(), "sha256:"+value)
			})
		}, nil
	case "until":
		limit, err := untilTime(value, now)
		return func(l images.Listed) bool { return l.Created.Before(limit) }, err
	}
	is := map[string]func(images.Listed) bool{
		"containers":   func(l images.Listed) bool { return len(l.Containers) > 0 },
		"intermediate": func(l images.Listed) bool { return l.Intermediate },
		"manifest":     func(l images.Listed) bool { return l.Instances != nil },
		"readonly":     func(l images.Listed) bool { return l.ReadOnly },
	}[key]
	if is == nil {
		return nil, errKey
	}
	want, err := strconv.ParseBool(value)
	if err != nil {
		return nil, errNoBool
	}
	return func(l images.Listed) bool { return is(l) == want }, nil
}

// errNoBool is about a value that is neither true nor false.
var errNoBool = errors.New("must be true or false")

// untilTime reads a time, as a date, as seconds since 1970, or as how long ago it was.
func untilTime(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(seconds, 0), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	return now, errors.New("must be a date such as 2026-01-31, a duration such as 24h, or seconds since 1970")
}

// passes tells whether an image passes one test of each key, and none of those that it must not pass.
func (f Filters) passes(l images.Listed) bool {
	if slices.ContainsFunc(f.not, func(test func(images.Listed) bool) bool { return test(l) }) {
		return false
	}
	for _, tests := range f.tests {
		if !slices.ContainsFunc(tests, func(test func(images.Listed) bool) bool { return test(l) }) {
			return false
		}
	}
	return true
}

// AddReference adds a pattern that a name of the image has to fit: the whole of it, or its last components,
// each with or without the tag.
func (f *Filters) AddReference(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("reference %q: %w", pattern, err)
	}
	f.references = append(f.references, pattern)
	return nil
}

// Dangling tells whether the filters select only images without a name.
func (f Filters) Dangling() bool { return f.dangling != nil && *f.dangling }

// Intermediate tells whether a filter asks for images without a name that others were built on, or for all others.
func (f Filters) Intermediate() bool { return len(f.tests["intermediate"]) > 0 }

// lookUp finds images by name.
type lookUp interface {
	LookUp(name string) (id, given string, err error)
}

var _ lookUp = (*images.Room)(nil)

// bind looks up the images that the filters name. The function that it returns tells whether an image is to be listed,
// and by which names.
func (f Filters) bind(by lookUp, all []images.Listed) (func(images.Listed) (names []string, listed bool), error) {
	before, err := times(by, all, f.before)
	if err != nil {
		return nil, fmt.Errorf("filter before=%w", err)
	}
	since, err := times(by, all, f.since)
	if err != nil {
		return nil, fmt.Errorf("filter since=%w", err)
	}
	return func(l images.Listed) (names []string, listed bool) {
		switch {
		case !f.passes(l), f.dangling != nil && l.Dangling() != *f.dangling,
			len(before) > 0 && !slices.ContainsFunc(before, l.Created.Before),
			len(since) > 0 && !slices.ContainsFunc(since, l.Created.After),
			slices.ContainsFunc(f.labels, func(want label) bool { return !want.on(l) }):
			return nil, false
		case len(f.references) == 0:
			return l.Names, true
		}
		for _, n := range l.Names {
			if slices.ContainsFunc(f.references, func(p string) bool { return fits(p, n) }) {
				names = append(names, n)
			}
		}
		return names, len(names) > 0
	}, nil
}

// times are the creation times of the images with these names.
func times(by lookUp, all []images.Listed, names []string) (made []time.Time, err error) {
	for _, name := range names {
		id, _, err := by.LookUp(name)
		if err != nil {
			return nil, err
		}
		for _, l := range all {
			if l.ID == id {
				made = append(made, l.Created)
			}
		}
	}
	return made, nil
}

// fits tells whether a pattern fits a name of an image.
func fits(pattern, name string) bool {
	repository, _ := splitName(name)
	for _, text := range []string{name, repository} {
		for rest, more := text, true; more; _, rest, more = strings.Cut(rest, "/") {
			if ok, err := path.Match(pattern, rest); ok && err == nil {
				return true
			}
		}
	}
	return false
}

// splitName gives the repository and the tag of a full name.
func splitName(name string) (repository, tag string) {
	ref, err := reference.Parse(name)
	if err != nil {
		return name, none
	}
	if ref.Tag == "" {
		return ref.Name(), none
	}
	return ref.Name(), ref.Tag
}
