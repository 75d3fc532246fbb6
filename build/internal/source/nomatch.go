package source

import (
	"fmt"
	"strings"
)

// NoMatchError says that a source doesn't exist, why, and which existing names look like it.
type NoMatchError struct {
	// Pattern is the source as written.
	Pattern  string
	Wildcard bool
	// Excluded names the line of the ignore file that hides the source; empty if none does.
	Excluded string
	// Outside says that the source, as written, leads out of the context.
	Outside bool
	// Link is the symlink, as "name -> target", whose target doesn't exist; empty if there is none.
	Link string
	// Near are paths that exist, at most three, the best first.
	Near []string

	// noDirectory tells of a pattern that the directory with which it begins doesn't exist.
	noDirectory bool
}

// Error is one line: what is missing, why, and what may have been meant.
func (e *NoMatchError) Error() string {
	var b strings.Builder
	switch {
	case e.Outside:
		fmt.Fprintf(&b, "%q is outside the build context: forbidden path", e.Pattern)
	case e.Excluded != "":
		fmt.Fprintf(&b, "%q is excluded by %s", e.Pattern, e.Excluded)
	case e.Wildcard:
		fmt.Fprintf(&b, "%q matches no file", e.Pattern)
	default:
		fmt.Fprintf(&b, "%q not found", e.Pattern)
	}
	if e.Link != "" {
		fmt.Fprintf(&b, ": the symlink %s leads to nothing in the context", e.Link)
	}
	if len(e.Near) > 0 {
		quoted := make([]string, len(e.Near))
		for n, near := range e.Near {
			quoted[n] = fmt.Sprintf("%q", near)
		}
		fmt.Fprintf(&b, "; did you mean %s?", strings.Join(quoted, " or "))
	}
	return b.String()
}

// leadsOut reports whether a path, taken relative to the root, has more ".." than it has directories to leave.
func leadsOut(pattern string) bool {
	depth := 0
	for _, part := range components(pattern) {
		if part != ".." {
			depth++
			continue
		}
		if depth--; depth < 0 {
			return true
		}
	}
	return false
}

// distance gives the number of single-byte edits that lead from a to b, ignoring case; at most limit+1.
func distance(a, b string, limit int) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}

	row := make([]int, len(b)+1)
	for n := range row {
		row[n] = n
	}

	for i := range len(a) {
		diagonal, best := row[0], limit+1
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
			best = min(best, cost)
		}
		if best > limit {
			return limit + 1
		}
	}

	return row[len(b)]
}
