package dockerfile

import (
	"fmt"
	"strings"
)

const (
	// excerptLines is how many lines of one instruction an excerpt shows.
	excerptLines = 20
	// aroundOne and aroundMany are how many lines it shows before and after an instruction of one line, or of many.
	aroundOne, aroundMany = 2, 1
	excerptRule           = "--------------------"
)

// Excerpt shows the lines of a location, of all those of a text, as docker does: the file and line, then the lines and
// those around them with their numbers, marked with ">>>". It ends with a line end; a location without a line gives "".
func Excerpt(lines []string, loc Location) string {
	if loc.StartLine < 1 || loc.StartLine > len(lines) {
		return ""
	}
	first, last := loc.StartLine, min(max(loc.EndLine, loc.StartLine), len(lines))
	around := aroundOne
	if last > first {
		around = aroundMany
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d\n%s\n", printable(loc.File, -1), first, excerptRule)
	row := func(n int, mark string) {
		fmt.Fprintf(&b, " %3d | %s %s\n", n, mark, printable(strings.TrimSuffix(lines[n-1], "\r"), shownColumns))
	}
	for n := max(1, first-around); n < first; n++ {
		row(n, "   ")
	}
	for n := first; n <= last; n++ {
		if n == first+excerptLines {
			fmt.Fprintf(&b, "     | >>> (%d more lines)\n", last-n+1)
			break
		}
		row(n, ">>>")
	}
	for n := last + 1; n <= min(len(lines), last+around); n++ {
		row(n, "   ")
	}
	b.WriteString(excerptRule + "\n")
	return b.String()
}
