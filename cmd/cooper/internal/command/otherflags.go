package command

import (
	"errors"

	"github.com/spf13/pflag"
)

// AcceptSwitches adds switches of other tools that ask for what is always so, or change nothing here.
func AcceptSwitches(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		f.Bool(name, false, "without effect")
		f.Lookup(name).Hidden = true
	}
}

// Refuse adds flags of other tools whose meaning can't be had: why says so, and what to do instead.
func Refuse(f *pflag.FlagSet, why string, names ...string) {
	for _, name := range names {
		f.Var(&refused{errors.New(why)}, name, why)
		f.Lookup(name).Hidden = true
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
