package why

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/session"
)

// Question asks about the last build of a directory.
type Question struct {
	// Project has the context; Dockerfile and Target, unless empty, are those of the build.
	Project
	// Step chooses steps: by number, place, stage or words of the instruction; empty: all.
	Step string
}

// Answer is what became of the steps of a build.
type Answer struct {
	Project
	When   time.Time `json:"when"`
	Failed bool      `json:"failed,omitempty"`
	Steps  []Step    `json:"steps"`
}

// Step is a step of a build, with the reason why it ran or need not run.
type Step struct {
	Step string `json:"step,omitempty"`
	Text string `json:"text"`
	// Cached tells that it did not run, Kept that its result is in the cache.
	Cached bool   `json:"cached"`
	Kept   bool   `json:"kept"`
	Reason Reason `json:"reason"`
}

// ErrNothing says that nothing is known of a build.
var ErrNothing = errors.New("no build of this directory is known")

// Last answers a question about the last build of a directory.
func Last(ctx context.Context, s *session.Session, q Question) (a Answer, err error) {
	d, err := s.Existing(ctx)
	if err != nil {
		return a, err
	}
	if d == nil {
		return a, fmt.Errorf("%w: %s", ErrNothing, q.Dir)
	}
	c, err := cache.Open(d.Store.Paths().Cache())
	if err != nil {
		return a, err
	}
	last, found := latest(c, q)
	if !found {
		return a, fmt.Errorf("%w: %s", ErrNothing, q.Dir)
	}
	a = Answer{Project: last.Project, When: last.When, Failed: last.Failed,
		Steps: []Step{}}
	for i, row := range last.Rows {
		if !row.matches(q.Step, i+1) {
			continue
		}
		step := Step{Step: row.Step, Text: row.Text, Cached: row.Cached, Kept: row.Key != ""}
		if row.Cached {
			step.Reason = row.hit(time.Now())
		} else {
			step.Reason = row.miss(c, row.Key, func() (old, now *cache.Recipe, from string) {
				now = row.Unkept
				if row.Key != "" {
					now, _ = c.Recipe(row.Key) // nil: it is not kept any more
				}
				old, from = row.old(c)
				return old, now, from
			})
		}
		a.Steps = append(a.Steps, step)
	}
	if len(a.Steps) == 0 && q.Step != "" {
		return a, fmt.Errorf("the last build of %s had no step %q", q.Dir, q.Step)
	}
	return a, nil
}

// latest is the last build that a question may be about.
func latest(c *cache.Cache, q Question) (last build, found bool) {
	for _, key := range c.BuildsOf(q.Dir) {
		var b build
		text, _ := c.Build(key)
		if json.Unmarshal(text, &b) != nil || b.Dir != q.Dir || q.Dockerfile != "" && b.Dockerfile != q.Dockerfile ||
			q.Target != "" && b.Target != q.Target {
			continue
		}
		if !found || b.When.After(last.When) {
			last, found = b, true
		}
	}
	return last, found
}

// matches tells whether words choose a step, which is the n-th of the build.
func (row Row) matches(words string, n int) bool {
	place := strings.Trim(row.Step, "[]")
	fields := strings.Fields(place)
	return words == "" || words == fmt.Sprint(n) || words == place || words == row.Step ||
		slices.Contains(fields, words) ||
		strings.HasPrefix(row.Text, words)
}
