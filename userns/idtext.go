package userns

import (
	"fmt"
	"slices"
	"strings"
)

// listedRanges is how many ranges of IDs a message names.
const listedRanges = 8

// String names the IDs for people: "user IDs 7, 70000-70009 and group ID 5"; "no IDs" if there are none.
func (i IDs) String() string {
	var kinds []string
	for _, k := range []struct {
		name string
		ids  []uint32
	}{{"user ID", i.UIDs}, {"group ID", i.GIDs}} {
		if len(k.ids) > 0 {
			kinds = append(kinds, k.name+idText(k.ids))
		}
	}
	if len(kinds) == 0 {
		return "no IDs"
	}
	return strings.Join(kinds, " and ")
}

// idText gives the text that follows "user ID" or "group ID": " 7", or "s 7, 70000-70009".
func idText(ids []uint32) string {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	if len(ids) == 1 {
		return fmt.Sprintf(" %d", ids[0])
	}

	var ranges []string
	left := len(ids)
	for at := 0; at < len(ids) && len(ranges) < listedRanges; {
		end := at + 1
		for end < len(ids) && ids[end] == ids[end-1]+1 {
			end++
		}
		text := fmt.Sprint(ids[at])
		if end-at > 1 {
			text += fmt.Sprintf("-%d", ids[end-1])
		}
		ranges = append(ranges, text)
		left -= end - at
		at = end
	}

	text := "s " + strings.Join(ranges, ", ")
	if left > 0 {
		text += fmt.Sprintf(" and %d more", left)
	}
	return text
}
