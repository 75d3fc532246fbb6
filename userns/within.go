package userns

// Within gives the same mapping in ranges that the kernel takes in a namespace with the mapping outer: each lies in a single
// range there. An ID that outer leaves out is an [UnmappedError].
func (m Mapping) Within(outer Mapping) (Mapping, error) {
	uids, err := m.UIDs.within(outer.UIDs)
	if err != nil {
		return Mapping{}, withKind(err, KindUID)
	}
	gids, err := m.GIDs.within(outer.GIDs)
	if err != nil {
		return Mapping{}, withKind(err, KindGID)
	}
	return Mapping{UIDs: uids, GIDs: gids}, nil
}

func (m Map) within(outer Map) (Map, error) {
	var ranges []Range
	for _, r := range m {
		pieces, err := outer.slice(r.Host, r.Length)
		if err != nil {
			return nil, err
		}
		for _, p := range pieces {
			ranges = append(ranges, Range{Container: r.Container + (p.Container - r.Host), Host: p.Container, Length: p.Length})
		}
	}
	return NewMap(ranges...)
}
