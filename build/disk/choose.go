package disk

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// Policy says what is to go. The zero value takes everything that nothing needs.
type Policy struct {
	// Limit is how many bytes may stay; 0: as few as possible.
	Limit int64
	// Unused takes only what wasn't used since; zero: whatever its last use.
	Unused time.Time
	// Kinds are those to choose from; nil: all.
	Kinds []Kind
	// Shared takes what builds of images that stay would use, too.
	Shared bool
	// Project takes and counts only what contexts of the project have made; empty: all.
	Project string
}

// counts tells whether an item counts.
func (p Policy) counts(i Item) bool { return p.Project == "" || InProject(i.Project, p.Project) }

// Choose gives what is to go, in an order in which it can be removed: what nothing can use first, then least recently
// used first, until the rest is within the limit. A layer goes after those on it, and takes along the copies and
// records that are of no use without it. Images and what is in use stay, and so does everything below.
func Choose(items []Item, p Policy) []Item {
	c := &chooser{items: items, policy: p, on: map[string][]int{}, above: map[string]int{}, at: map[string]int{},
		done: make([]bool, len(items))}
	for n, i := range items {
		if i.Kind == Images {
			continue
		}
		if p.counts(i) {
			c.left += i.Size.Bytes
		}
		if i.Kind == Layers {
			c.at[i.ID] = n
		}
		if i.On == "" {
			continue
		}
		c.on[i.On] = append(c.on[i.On], n)
		if i.Kind == Layers || i.InUse {
			c.above[i.On]++
		}
	}
	for n := range items {
		c.offer(n)
	}
	for c.ready.Len() > 0 && (p.Limit == 0 || c.left > p.Limit) {
		c.take(heap.Pop(&c.ready).(queued).n)
	}
	return c.chosen
}

type chooser struct {
	items  []Item
	policy Policy
	// left is the size of all that stays.
	left int64
	// on lists by layer what is of no use without it, and above counts what has to go before it can.
	on     map[string][]int
	above  map[string]int
	at     map[string]int // layers by ID
	ready  queue
	done   []bool
	chosen []Item
}

// offer queues an item that may go now.
func (c *chooser) offer(n int) {
	i := c.items[n]
	p := c.policy
	switch {
	case c.done[n], !p.counts(i), i.Kind == Images, i.InUse, i.Bound && !i.Useless, i.Kind == Layers && c.above[i.ID] > 0,
		p.Kinds != nil && !slices.Contains(p.Kinds, i.Kind):
		return
	case i.Useless:
	case i.Shared && !p.Shared, !p.Unused.IsZero() && !i.LastUse.Before(p.Unused):
		return
	case p.Limit > 0 && (i.Size.Bytes == 0 || i.Kind == Records && i.On != ""):
		return // it gives nothing back, or is what the layer is found by
	}
	heap.Push(&c.ready, queued{n, i})
}

func (c *chooser) take(n int) {
	if c.done[n] {
		return
	}
	i := c.items[n]
	if i.Kind == Layers {
		for _, other := range c.on[i.ID] {
			if c.items[other].Kind != Layers {
				c.take(other)
			}
		}
	}
	c.done[n] = true
	if c.policy.counts(i) {
		c.left -= i.Size.Bytes
	}
	c.chosen = append(c.chosen, i)
	if i.Kind != Layers || i.On == "" {
		return
	}
	if c.above[i.On]--; c.above[i.On] == 0 {
		if below, ok := c.at[i.On]; ok {
			c.offer(below)
		}
	}
}

type queued struct {
	n    int
	item Item
}

// queue has first what is to go first.
type queue []queued

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q queue) Less(i, j int) bool {
	a, b := q[i].item, q[j].item
	switch {
	case a.Useless != b.Useless:
		return a.Useless
	case !a.LastUse.Equal(b.LastUse):
		return a.LastUse.Before(b.LastUse)
	}
	return cmp.Or(cmp.Compare(b.Size.Bytes, a.Size.Bytes), cmp.Compare(q[i].n, q[j].n)) < 0
}

// Push implements heap.Interface.
func (q *queue) Push(x any) { *q = append(*q, x.(queued)) }

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
