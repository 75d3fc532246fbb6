package command

import (
	"encoding/json"
	"io"
	"strings"

	"github.com/cooperbuild/cooper/internal/printable"
)

// Printable is a text of somebody else's without what a terminal would obey.
func Printable(text string) string { return printable.Line(text) }

// WriteIndented writes v as JSON for people and programs.
func WriteIndented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// WriteJSONLine writes v as JSON on one line.
func WriteJSONLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// ParsePairs reads the values of a flag that takes KEY=VALUE.
func ParsePairs(flag string, pairs []string) (map[string]string, error) {
	m := map[string]string{}
	for _, p := range pairs {
		key, value, _ := strings.Cut(p, "=")
		if key == "" {
			return nil, Usagef("%s %q: must be KEY=VALUE", flag, p)
		}
		m[key] = value
	}
	return m, nil
}
