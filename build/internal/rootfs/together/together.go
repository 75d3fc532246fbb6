// Package together lets builds that run at once in one process do equal steps once: who comes to a step that another
// build is at waits, and takes from the cache what that has recorded.
//
// Steps are equal if they have the same shape and come after equal steps on the same image. What a COPY takes from its
// context is no part of that, so a wait may be in vain; the keys of the cache decide what is taken. No turn waits for
// another while it lasts, so builds never wait for each other in a circle.
package together

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// Group are the builds. A nil Group is a build alone, whose turns begin at once.
type Group struct {
	mu sync.Mutex
	// turns has the steps that a build has begun, by their chains. The channel is closed when the turn has ended.
	turns map[string]chan struct{}
}

// New makes a group of no builds yet.
func New() *Group { return &Group{turns: map[string]chan struct{}{}} }

// Chain stands for a step of this shape after the steps that another chain stands for.
func Chain(steps, shape string) string {
	sum := sha256.Sum256([]byte(steps + "\x00" + shape))
	return hex.EncodeToString(sum[:])
}

// Turn is a build's turn at a step.
type Turn struct {
	// Steps is the chain with the step.
	Steps string
	// Again tells that a build of the group has had its turn before, so that the cache may have its result.
	Again bool
	end   func()
}

// End ends the turn; further calls do nothing.
func (t Turn) End() {
	if t.end != nil {
		t.end()
	}
}

// Begin waits until no other build is at the step. The caller ends the turn.
func (g *Group) Begin(ctx context.Context, steps string) (Turn, error) {
	if g == nil {
		return Turn{Steps: steps}, nil
	}
	for again := false; ; again = true {
		other, mine := g.claim(steps)
		if mine != nil {
			return Turn{Steps: steps, Again: again || other != nil, end: sync.OnceFunc(func() { close(mine) })}, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return Turn{}, context.Cause(ctx)
		}
	}
}

// claim makes a turn, mine, unless another lasts; other is the turn before.
func (g *Group) claim(steps string) (other <-chan struct{}, mine chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if before, ok := g.turns[steps]; ok {
		other = before
		select {
		case <-before:
		default:
			return other, nil
		}
	}
	mine = make(chan struct{})
	g.turns[steps] = mine
	return other, mine
}
