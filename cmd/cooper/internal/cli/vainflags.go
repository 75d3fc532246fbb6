package cli

import (
	"fmt"

	"github.com/spf13/pflag"
)

// vainFlag is a flag of other builders that asks for what is always so here.
type vainFlag struct {
	name, short string
	// usual is what is always so, and the value that the flag has where it is given without one.
	usual bool
	// because says why the opposite can't be had; empty: the opposite asks for nothing either.
	because string
}

func vainFlags() []vainFlag {
	return []vainFlag{
		{name: "rm", usual: true, because: "steps leave no containers behind"},
		{name: "force-rm", usual: true},
		{name: "load", usual: true},
		{name: "compress", usual: true},
		{"disable-compression", "D", true,
			"layers in the store are not compressed; --output has compression="},
		{name: "disable-content-trust", usual: true, because: "policy.json says which images are trusted"},
		{name: "skip-unused-stages", usual: true, because: "stages that the target doesn't need are never built"},
	}
}

// vain are the values of flags without effect, by name.
type vain map[string]*bool

func (v vain) register(f *pflag.FlagSet) {
	for _, flag := range vainFlags() {
		v[flag.name] = f.BoolP(flag.name, flag.short, flag.usual, "without effect")
		f.Lookup(flag.name).Hidden = true
	}
}

// notes tell of flags that ask for what can't be had.
func (v vain) notes() (notes []string) {
	for _, flag := range vainFlags() {
		if is := v[flag.name]; is != nil && *is != flag.usual && flag.because != "" {
			notes = append(notes, fmt.Sprintf("--%s=%t has no effect: %s", flag.name, *is, flag.because))
		}
	}
	return notes
}
