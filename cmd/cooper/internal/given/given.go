// Package given keeps what flags are given, word for word, for command lines of other tools whose meaning is looked for
// once all flags are known.
package given

import (
	"strconv"

	"github.com/spf13/pflag"
)

// Values are what a flag was given, in the order of the command line. The zero value is for a flag that takes any text.
type Values struct {
	// Switch says that the flag needs no value; All has "true" or "false" for each time it was given.
	Switch bool
	// Number says that each value must be a whole number.
	Number bool
	// All are the values.
	All []string
}

var _ pflag.Value = (*Values)(nil)

// Add adds a flag that v keeps the values of: a Values, or what embeds one.
func Add(f *pflag.FlagSet, v pflag.Value, name, short, usage string) *pflag.Flag {
	flag := f.VarPF(v, name, short, usage)
	if v.Type() == "bool" {
		flag.NoOptDefVal = "true"
	}
	return flag
}

// String is empty, as no flag of another tool has a default here.
func (v *Values) String() string { return "" }

// Type is what pflag calls the type of the value.
func (v *Values) Type() string {
	if v.Switch {
		return "bool"
	}
	return "string"
}

// IsBoolFlag has pflag take a switch without a value.
func (v *Values) IsBoolFlag() bool { return v.Switch }

// Set takes a value.
func (v *Values) Set(text string) error {
	if v.Switch {
		is, err := strconv.ParseBool(text)
		if err != nil {
			return err
		}
		text = strconv.FormatBool(is)
	}
	if v.Number {
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			return err
		}
	}
	v.All = append(v.All, text)
	return nil
}
