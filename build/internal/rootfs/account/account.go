// Package account is what those are told who account for the steps of a build: which were spared, which ran, and why.
package account

import (
	"context"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/plan"
)

// A Teller is told what becomes of steps. Its methods may be called by several goroutines.
type Teller interface {
	// Hit says that a step needn't run.
	Hit(s *plan.Step, h Hit)
	// Missed says that a step is about to run.
	Missed(ctx context.Context, s *plan.Step, m Miss)
	// Recorded says that the result of a step that has run is in the cache.
	Recorded(s *plan.Step, key cache.Key)
}

// Hit is the record that spares a step.
type Hit struct {
	Shape, Key cache.Key
	Record     cache.Record
}

// Cause says why a step has to run.
type Cause string

// The causes.
const (
	// NoCache and Fresh: the build, or the stage, is done anew.
	NoCache Cause = "no-cache"
	Fresh   Cause = "no-cache-filter"
	// NewShape: no step of this shape was ever recorded. NoRecord: none with these inputs was.
	NewShape Cause = "shape"
	NoRecord Cause = "inputs"
	// TooOld: the record is older than it may be. LayerLost: the store has not got the record's layer any more.
	TooOld    Cause = "too-old"
	LayerLost Cause = "lost"
)

// Miss is a step that has to run.
type Miss struct {
	Cause Cause
	// Shape and Key are what the step was looked up by; the key is empty if it isn't known yet.
	Shape, Key cache.Key
	// Record is the one that can't be used; nil: there is none.
	Record *cache.Record
	// Recipe says what the key is made of, or the shape only if the Cause is NewShape; nil: nobody knows. It may read
	// files.
	Recipe func(ctx context.Context) (*cache.Recipe, error)
}
