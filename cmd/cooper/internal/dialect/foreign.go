package dialect

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/given"
)

// Foreign are the flags of a command that belong to other tools and have no meaning here.
type Foreign struct{ values []*value }

// value is a flag of the table with what it was given.
type value struct {
	given.Values
	row Flag
}

// Foreign tells the flags of the table from all others.
func (v *value) Foreign() {}

// Register adds the flags of the table that f lacks, which no help shows.
func Register(f *pflag.FlagSet) *Foreign {
	var foreign Foreign
	for _, row := range Flags() {
		if row.Kind == Own || f.Lookup(row.Name) != nil {
			continue
		}
		v := &value{row: row, Values: given.Values{Switch: row.Switch, Number: row.Number}}
		short := row.Short
		if short != "" && f.ShorthandLookup(short) != nil {
			short = "" // -D is a flag of buildah's and another one of buildx's, both without effect
		}
		given.Add(f, v, row.Name, short, row.Text).Hidden = true
		foreign.values = append(foreign.values, v)
	}
	return &foreign
}

// Take gives a line for the user for the flags that have no effect though they ask for something, and an error for one
// that is refused. It shows no values, which may be secret.
func (f *Foreign) Take() (notes []string, err error) {
	var reasons []string
	flags := map[string][]string{} // by reason
	for _, v := range f.values {
		n := slices.IndexFunc(v.All, func(text string) bool { return !v.row.harmless(text) })
		if n < 0 {
			continue
		}
		flag := "--" + v.row.Name
		if v.row.Switch && v.All[n] == "false" {
			flag += "=false"
		}
		if v.row.Kind == Refused {
			return nil, fmt.Errorf("%s is not supported: %s\nhint: %s", flag, v.row.Text, v.row.Way)
		}
		if flags[v.row.Text] == nil {
			reasons = append(reasons, v.row.Text)
		}
		flags[v.row.Text] = append(flags[v.row.Text], flag)
	}
	for _, reason := range reasons {
		verb := "has"
		if len(flags[reason]) > 1 {
			verb = "have"
		}
		notes = append(notes, fmt.Sprintf("%s %s no effect: %s", strings.Join(flags[reason], ", "), verb, reason))
	}
	return notes, nil
}
