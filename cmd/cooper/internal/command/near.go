package command

import (
	"slices"
	"strings"
)

// Near is the option that a word is probably meant to be, or "": one that differs by a slip for every three letters of
// the word (at least by one), or one that the word, of three letters or more, is the beginning of.
func Near(word string, options []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, option := range slices.Sorted(slices.Values(options)) {
		if n := slips(word, option); n < least {
			best, least = option, n
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	begun := slices.DeleteFunc(slices.Sorted(slices.Values(options)),
		func(o string) bool { return !strings.HasPrefix(o, word) })
	if len(begun) == 1 {
		return begun[0]
	}
	return ""
}

// slips counts what it takes to make one word of another: letters added, left out, replaced, and neighbours that have
// changed places.
func slips(from, to string) int {
	// The three last rows of the table of distances between the words' beginnings.
	var before, last []int
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(from); i++ {
		before, last, row = last, row, make([]int, len(to)+1)
		row[0] = i
		for j := 1; j <= len(to); j++ {
			replaced := last[j-1]
			if from[i-1] != to[j-1] {
				replaced++
			}
			row[j] = min(replaced, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && from[i-1] == to[j-2] && from[i-2] == to[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(to)]
}
