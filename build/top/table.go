package top

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/cooperbuild/cooper/internal/printable"
)

// Table writes processes in columns.
type Table struct{ columns []column }

// NewTable makes a table of descriptors, each a name or several with commas between them; none are the usual ones. The
// error for those that don't exist lists all there are.
func NewTable(descriptors []string) (Table, error) {
	if len(descriptors) == 0 {
		descriptors = []string{usual}
	}
	var t Table
	for _, d := range descriptors {
		for name := range strings.SplitSeq(d, ",") {
			c, ok := find(name)
			if !ok {
				return t, fmt.Errorf("%q is no descriptor\nhint: the descriptors are %s", name, Descriptors())
			}
			t.columns = append(t.columns, c)
		}
	}
	return t, nil
}

// IsDescriptors reports whether a word of the command line is one descriptor or several with commas between them.
func IsDescriptors(word string) bool {
	_, err := NewTable([]string{word})
	return err == nil
}

// Descriptors lists all names, sorted.
func Descriptors() string {
	var names []string
	for _, c := range allColumns() {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

// Write writes a header and a line for each process.
func (t Table) Write(w io.Writer, f Found) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := make([]string, len(t.columns))
	for i, c := range t.columns {
		row[i] = c.header
	}
	fmt.Fprintln(tw, strings.Join(row, "\t"))
	host := newHostNames()
	for _, p := range f.Processes {
		v := shown{Process: p, names: f.Names[p.Step], host: host}
		for i, c := range t.columns {
			row[i] = printable.Line(c.value(v))
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}
