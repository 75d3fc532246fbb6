package settings

import (
	"fmt"
	"strings"
)

// A Key is the name of a setting: its table in the file, a dot, and the name there.
type Key string

// The keys.
const (
	NetworkDefault   Key = "network.default"
	NetworkAllowHost Key = "network.allow-host-when-impossible"
)

// row says what a key is.
type row struct {
	key  Key
	kind kind
	// usual is the value where no file has one.
	usual string
	// about says in Markdown what the setting does.
	about string
}

// rows is the table of all keys, in the order of the documentation.
func rows() []row {
	return []row{
		{NetworkDefault, oneOf("private", "host", "none"), "private",
			"the [network](network.md) of RUN steps, and of what `cooper run` runs, where no flag says another: `--network=default`"},
		{NetworkAllowHost, boolean(), "false",
			"whether steps that would have a private network have the host's, with a warning, where this machine can't make a " +
				"network namespace; otherwise they fail there"},
	}
}

// kind is what values of a setting can be.
type kind struct {
	// what completes "must be", and stands in the documentation.
	what string
	// read gives the text of a value of a file, if it can be one.
	read func(value any) (text string, ok bool)
}

// oneOf is a string out of some.
func oneOf(words ...string) kind {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	last := len(quoted) - 1
	return kind{
		what: strings.Join(quoted[:last], ", ") + " or " + quoted[last],
		read: func(value any) (string, bool) {
			for _, w := range words {
				if value == w {
					return w, true
				}
			}
			return "", false
		},
	}
}

// boolean is true or false.
func boolean() kind {
	return kind{what: "true or false", read: func(value any) (string, bool) {
		b, ok := value.(bool)
		return fmt.Sprint(b), ok
	}}
}
