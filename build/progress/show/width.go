package show

import (
	"strings"
	"unicode"
)

// runeWidth is the number of terminal cells of a rune. It is an estimate: terminals differ, and the live view doesn't
// break if it is wrong.
func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	}
	// East Asian wide and fullwidth characters and emoji (Unicode TR 11), roughly.
	for _, wide := range [...][2]rune{
		{0x1100, 0x115f}, {0x2e80, 0x303e}, {0x3041, 0xa4cf}, {0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xfe30, 0xfe6f},
		{0xff00, 0xff60}, {0xffe0, 0xffe6}, {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd},
	} {
		if r >= wide[0] && r <= wide[1] {
			return 2
		}
	}
	return 1
}

// fit cuts s to at most width cells, the last of them "…" if something was cut, with tabs expanded, and gives its
// width.
func fit(s string, width int) (string, int) {
	if width <= 0 {
		return "", 0
	}
	var (
		b    strings.Builder
		used int
		// atEnd is how many bytes of b fit together with the mark, atEndUsed their width in cells.
		atEnd, atEndUsed int
	)

	for _, r := range s {
		w := runeWidth(r)
		if r == '\t' {
			r, w = ' ', min(8-used%8, width-used)
			w = max(w, 1)
		}
		if used+w > width {
			return b.String()[:atEnd] + "…", atEndUsed + 1
		}
		if r == ' ' {
			b.WriteString(strings.Repeat(" ", w))
		} else {
			b.WriteRune(r)
		}
		used += w
		if used < width {
			atEnd, atEndUsed = b.Len(), used
		}
	}

	return b.String(), used
}
