package source

// A Filter hides part of a tree. Implementations must be safe for concurrent use.
type Filter interface {
	// Excluded reports whether the file or directory at rel, a slash-separated path below the root without leading slash,
	// is hidden. For an excluded directory descend says whether something below it may still be visible.
	Excluded(rel string, dir bool) (excluded, descend bool)
}

// An explainer can say why it hides a path, as in `.dockerignore:3: *.log`.
type explainer interface {
	explain(rel string) string
}

var (
	_ Filter    = (*Ignore)(nil)
	_ explainer = (*Ignore)(nil)
)

// scope is a Filter at one directory. It remembers what the directory's path has decided, so that this isn't decided
// again for each of its files.
type scope struct {
	filter Filter
	ignore *Ignore
	state  ignoreState
	// narrow is the part that is taken of the source that the directory is in; nil if all of it is.
	narrow *narrowed
}

// newScope gives the scope of a filter at the root.
func newScope(f Filter) scope {
	ig, ok := f.(*Ignore)
	if f == nil || ok && (ig == nil || len(ig.patterns) == 0) {
		return scope{}
	}
	if ok {
		return scope{ignore: ig, state: ig.rootState()}
	}
	return scope{filter: f}
}

// all reports whether nothing in the directory or below it is hidden.
func (s scope) all() bool { return s.filter == nil && s.ignore == nil && s.narrow == nil }

// verdict is a scope's decision on one name.
type verdict struct {
	excluded bool
	// passing tells of an excluded directory that the filter doesn't hide it: it was only not asked for.
	passing bool
	// hidden is true when nothing at or below the name is visible.
	hidden bool
	// below is the scope inside the name if it is a directory.
	below scope
}

// judge decides on rel, a child of the scope's directory.
func (s scope) judge(rel string, dir bool) verdict {
	v := s.filtered(rel, dir)
	if s.narrow == nil || v.hidden {
		return v
	}
	return s.narrow.judge(v, rel, dir)
}

// filtered gives the filter's decision on rel, without that of narrow.
func (s scope) filtered(rel string, dir bool) verdict {
	switch {
	case s.ignore != nil:
		excluded, state := s.ignore.match(rel, s.state)
		v := verdict{excluded: excluded, below: scope{ignore: s.ignore, state: state}}
		v.hidden = excluded && !(dir && s.ignore.mayMatchBelow(rel, state))
		return v
	case s.filter != nil:
		excluded, descend := s.filter.Excluded(rel, dir)
		return verdict{excluded: excluded, hidden: excluded && !(dir && descend), below: s}
	default:
		return verdict{}
	}
}

// explain says why rel is hidden, or returns "".
func (s scope) explain(rel string) string {
	if s.ignore != nil {
		return s.ignore.explain(rel)
	}
	if e, ok := s.filter.(explainer); ok {
		return e.explain(rel)
	}
	return ""
}
