package dialect

import "slices"

// Tools is a set of programs that have a flag.
type Tools uint8

// The programs.
const (
	OfBuildx Tools = 1 << iota
	OfDocker
	OfPodman
	OfBuildah
)

// Sets of them that have many flags in common.
const (
	ofAll        = OfBuildx | OfDocker | OfPodman | OfBuildah
	ofDockers    = OfBuildx | OfDocker
	ofContainers = OfPodman | OfBuildah
	// ofClassic have what the classic builder has; buildx takes these flags, too, but doesn't list them.
	ofClassic = OfDocker | ofContainers
)

// Kind is what becomes of a flag.
type Kind uint8

// The kinds.
const (
	// Own flags have their meaning here.
	Own Kind = iota
	// Vain flags ask for what is always so and are taken without a word.
	Vain
	// Noted flags have no effect, which one line says: the image is the same, and how it is made differs.
	Noted
	// Refused flags end the build before it begins, with the way that works.
	Refused
)

// A Flag is a row of the table: a flag of some tools and what becomes of it.
type Flag struct {
	Name, Short string
	Tools       Tools
	Kind        Kind
	// Unlisted says that the tools have the flag but not in their manuals.
	Unlisted bool
	// Switch says that the flag needs no value.
	Switch bool
	// Number says that the value is a whole number.
	Number bool
	// Harmless are values that change nothing whatever the kind; of Vain flags with none, every value is harmless.
	Harmless []string
	// Text is one clause: how the meaning of an Own flag differs, why a Vain one is always so, what happens instead of
	// what a Noted one asks for, or why a Refused one is refused. It may be empty for Own and Vain.
	Text string
	// Way is what to do instead of a Refused flag.
	Way string
}

// harmless tells whether a value asks for nothing that isn't so.
func (f Flag) harmless(value string) bool {
	if f.Kind == Vain && len(f.Harmless) == 0 {
		return true
	}
	return slices.Contains(f.Harmless, value)
}

// Flags are all rows, by name.
func Flags() []Flag {
	rows := slices.Concat(imageFlags(), stepFlags(), storeFlags(), otherFlags())
	slices.SortFunc(rows, func(a, b Flag) int {
		if a.Name != b.Name {
			if a.Name < b.Name {
				return -1
			}
			return 1
		}
		return int(a.Tools) - int(b.Tools)
	})
	return rows
}
