package command

import (
	"encoding/json"
	"io"
	"strings"
	"unicode"
)

// Printable is a text of somebody else's without what a terminal would obey.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// WriteIndented writes v as JSON for people and programs.
func WriteIndented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
