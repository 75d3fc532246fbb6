package command

import (
	"errors"
	"strings"

	"github.com/spf13/pflag"
)

// Accept adds switches of other tools that ask for what is always so, or change nothing here: why says which. A name
// may be LONG,SHORT.
func Accept(f *pflag.FlagSet, why string, names ...string) {
	for _, name := range names {
		long, short, _ := strings.Cut(name, ",")
		f.BoolP(long, short, false, why)
		f.Lookup(long).Hidden = true
		f.Lookup(long).Annotations = map[string][]string{vain: nil}
	}
}

// vain is the annotation of flags that change nothing.
const vain = "vain"

// IsVain tells whether a flag changes nothing, whatever its value.
func IsVain(f *pflag.Flag) bool {
	_, is := f.Annotations[vain]
	return is
}

// Refuse adds flags of other tools, with or without a value, whose meaning can't be had: why says so, and what to do
// instead. A name may be LONG,SHORT.
func Refuse(f *pflag.FlagSet, why string, names ...string) {
	for _, name := range names {
		long, short, _ := strings.Cut(name, ",")
		flag := f.VarPF(&refused{errors.New(why)}, long, short, why)
		flag.Hidden, flag.NoOptDefVal = true, "true"
	}
}

// refused is the value of a flag that is refused whatever it is.
type refused struct{ why error }

var _ pflag.Value = (*refused)(nil)

func (*refused) String() string { return "" }

// Type is what help shows for the value.
func (*refused) Type() string { return "string" }

// Set says why there is no such value.
func (r *refused) Set(string) error { return r.why }

// Refusal is why a flag is refused; "" if it isn't.
func Refusal(f *pflag.Flag) string {
	if r, ok := f.Value.(*refused); ok {
		return r.why.Error()
	}
	return ""
}
