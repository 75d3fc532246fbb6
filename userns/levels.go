package userns

import "fmt"

// Level is a run of IDs that follow each other in all three ID spaces.
type Level struct {
	Container    uint32 `json:"container"`    // first container ID
	Intermediate uint32 `json:"intermediate"` // first intermediate ID
	Host         uint32 `json:"host"`         // first host ID
	Length       uint32 `json:"length"`       // number of IDs
}

// Levels gives the two maps of one kind, [KindUID] or [KindGID], side by side, sorted by container ID. Like
// [Resolved.Composed] it needs Second to be set in the modes [ModeAuto] and [ModeNS].
func (r Resolved) Levels(kind string) ([]Level, error) {
	second, outer, err := r.pair(kind)
	if err != nil {
		return nil, err
	}
	var levels []Level
	for _, q := range second {
		pieces, err := outer.slice(q.Host, q.Length)
		if err != nil {
			return nil, withKind(err, kind)
		}
		for _, p := range pieces {
			levels = append(levels, Level{Container: q.Container + (p.Container - q.Host), Intermediate: p.Container,
				Host: p.Host, Length: p.Length})
		}
	}
	return levels, nil
}

// pair gives both maps of one kind; without a second namespace the second map is the identity.
func (r Resolved) pair(kind string) (second, outer Map, err error) {
	if r.Second == nil && (r.Auto != nil || r.NSPath != "") {
		return nil, nil, fmt.Errorf("look at maps of --userns=%s: the second map is not known yet", r.Mode)
	}
	if kind == KindGID {
		if r.Second == nil {
			return identity(r.Outer.GIDs), r.Outer.GIDs, nil
		}
		return r.Second.GIDs, r.Outer.GIDs, nil
	}
	if r.Second == nil {
		return identity(r.Outer.UIDs), r.Outer.UIDs, nil
	}
	return r.Second.UIDs, r.Outer.UIDs, nil
}

// SideIntermediate is an ID space of [Resolved.Translate], besides SideContainer and SideHost.
const SideIntermediate = "intermediate"

// Translation is one ID in all three spaces; it is nil in a space in which it is not mapped.
type Translation struct {
	Host         *uint32 `json:"host"`
	Intermediate *uint32 `json:"intermediate"`
	Container    *uint32 `json:"container"`
}

// On gives the ID on a side: SideHost, SideIntermediate or SideContainer.
func (t Translation) On(side string) *uint32 {
	switch side {
	case SideHost:
		return t.Host
	case SideIntermediate:
		return t.Intermediate
	}
	return t.Container
}

// Translate gives in all three spaces the ID that is id on the given side. kind is KindUID or KindGID. An ID that isn't
// mapped is no error.
func (r Resolved) Translate(kind string, id uint32, side string) (Translation, error) {
	second, outer, err := r.pair(kind)
	if err != nil {
		return Translation{}, err
	}
	t := Translation{Intermediate: &id}
	switch side {
	case SideContainer:
		t.Container = &id
		t.Intermediate = mapped(second.ToHost, &id)
	case SideHost:
		t.Host = &id
		t.Intermediate = mapped(outer.ToContainer, &id)
	}
	if t.Host == nil {
		t.Host = mapped(outer.ToHost, t.Intermediate)
	}
	if t.Container == nil {
		t.Container = mapped(second.ToContainer, t.Intermediate)
	}
	return t, nil
}

// mapped applies one map to an ID. It gives nil for nil, and for an ID that isn't mapped.
func mapped(step func(uint32) (uint32, error), id *uint32) *uint32 {
	if id == nil {
		return nil
	}
	out, err := step(*id)
	if err != nil {
		return nil // the only error of step is an UnmappedError
	}
	return &out
}
