package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// UserMap gives the mapping [Default] of an ordinary user whose own group is gid, with the ranges that Find finds, and
// those ranges. If they make no map that the kernel takes, the error matches [ErrBadSubIDs]; for ranges in a file it is
// a [SubIDFileError] with the file, the line and a correct line.
func (f Finder) UserMap(ctx context.Context, owner User, gid uint32) (Mapping, SubIDs, error) {
	sub, err := f.Find(ctx, owner)
	if err != nil {
		return Mapping{}, sub, err
	}
	m, err := Default(owner.ID, gid, sub)
	if errors.Is(err, ErrBadMap) || err == nil {
		err = f.explain(owner, IDs{UIDs: []uint32{owner.ID}, GIDs: []uint32{gid}}, sub, err)
	}
	if err != nil {
		return Mapping{}, sub, err
	}
	return m, sub, nil
}

// StepMap gives the mapping [FromSubIDs] for steps that root runs; sub are the ranges that Find has found for owner.
// Errors are those of [Finder.UserMap].
func (f Finder) StepMap(owner User, sub SubIDs) (Mapping, error) {
	m, err := FromSubIDs(sub)
	if errors.Is(err, ErrBadMap) || err == nil {
		err = f.explain(owner, IDs{}, sub, err)
	}
	if err != nil {
		return Mapping{}, err
	}
	return m, nil
}

// explain turns err, for which ranges make no map that the kernel takes, into an error that names the file and the line
// at fault. own are the IDs that the map has before the ranges. It gives err itself if no line is at fault.
func (f Finder) explain(owner User, own IDs, sub SubIDs, err error) error {
	source, sourceErr := f.source()
	if sourceErr != nil {
		return sourceErr
	}

	for _, k := range []struct {
		kind, file string
		own        []uint32
		ranges     []SubIDRange
	}{{"user", f.subUID(), own.UIDs, sub.UIDs}, {"group", f.subGID(), own.GIDs, sub.GIDs}} {
		problem, line := "", 0
		for _, id := range k.own {
			for _, s := range k.ranges {
				if uint64(id) < uint64(s.Start) || uint64(id) >= s.end() {
					continue
				}
				line = lineWith(k.file, owner, id)
				problem = fmt.Sprintf(`the range "%s:%d:%d" holds %s's own %s ID %d, which can't be mapped twice`, owner, s.Start,
					s.Count, owner, k.kind, id)
			}
		}

		if problem == "" {
			problem = tooLong(owner, k.own, k.ranges)
		}
		if problem == "" {
			continue
		}
		if source != "" {
			return fmt.Errorf("find subordinate IDs of %s: %w: %s; have another range assigned in the source %q of nsswitch.conf", owner, ErrBadSubIDs, problem, source)
		}

		g := grantWithout(k.file, subIDCount, k.own)
		remedy := "no free range is left: remove lines of the file"
		if g.Range.Count > 0 {
			remedy = fmt.Sprintf("in place of that: %s:%d:%d", owner, g.Range.Start, g.Range.Count)
		}

		return &SubIDFileError{File: k.file, Line: line, Problem: problem, Remedy: remedy, Err: err}
	}

	return err
}

// tooLong says why a map of the ranges would be too long for the kernel, "" if it isn't.
func tooLong(owner User, own []uint32, ranges []SubIDRange) string {
	var first []Range
	with := ""
	n := len(disjoint(ranges))
	for _, id := range own {
		first, with = []Range{{Host: id, Length: 1}}, fmt.Sprintf(", %d with the own ID", n+1)
	}
	if len(first)+n > maxRanges {
		return fmt.Sprintf("%s has %d ranges%s, and the kernel takes %d in a map", owner, n, with, maxRanges)
	}
	m, err := stack(first, ranges)
	if err != nil {
		return err.Error()
	}
	if m.Writable() != nil {
		return fmt.Sprintf("%s has %d ranges%s, a map of %d bytes, and the kernel takes less than %d", owner, n, with,
			len(m.String())+1, os.Getpagesize())
	}
	return ""
}

// lineWith gives the number of the line, from 1, in which the owner has the ID; 0 if there is none.
func lineWith(file string, owner User, id uint32) (line int) {
	in, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer in.Close()
	_ = eachSubID(in, owner, func(l subIDLine) {
		if line == 0 && owner.is(l.name) && l.Start <= id && uint64(id) < l.end() {
			line = l.number
		}
	})
	return line
}
