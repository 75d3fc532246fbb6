package step

import "sync"

// Groups is what the steps of a process share that are limited: one at a time makes a control group. The zero value is
// ready.
type Groups struct {
	// Tell is called with a line for the user about limits that can't be kept as they should be, once for each; nil:
	// nobody wants to know.
	Tell func(text string)

	making sync.Mutex // held while a group is made
	made   uint64     // how many were made or tried; guarded by making
	mu     sync.Mutex // guards told
	told   map[string]bool
}

// Make calls one with a number that no other call gets, while no other call does so. one calls no method of g.
func (g *Groups) Make(one func(number uint64)) {
	g.making.Lock()
	defer g.making.Unlock()
	g.made++
	one(g.made)
}

// Once tells the user something, if it wasn't told before.
func (g *Groups) Once(text string) {
	g.mu.Lock()
	known := g.told[text]
	if g.told == nil {
		g.told = map[string]bool{}
	}
	g.told[text] = true
	g.mu.Unlock()
	if !known && g.Tell != nil {
		g.Tell(text)
	}
}
