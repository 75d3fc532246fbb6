package dockerfile

import (
	"fmt"
	"strings"
)

const (
	// excerptLines is how many lines of one instruction an excerpt shows.
	excerptLines = 20
	// aroundOne is how many lines an excerpt shows before and after an instruction of one line, aroundMany before and
	// after one of several lines.
	aroundOne, aroundMany = 2, 1
	excerptRule           = "--------------------"
)

// Excerpt shows a location as docker does: the file and the first line's number, then the location's lines, marked with
// ">>>", and some lines before and after them, all numbered. lines are all the lines of the file. The excerpt ends with
// a line end; a location without a line gives "".
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
