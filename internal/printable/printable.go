// Package printable makes texts that others have written fit for a line of a terminal or of a message.
package printable

import (
	"strings"
	"unicode"
)

// most is how many runes [Clip] leaves of a text.
const most = 300

// Line replaces what a terminal would obey, or what breaks a line, by question marks.
func Line(text string) string { return replaced(text, '?') }

// OneLine is a text as one line: its words, a space apart.
func OneLine(text string) string { return strings.Join(strings.Fields(replaced(text, ' ')), " ") }

// Clip makes a server's text fit for a message: one short line without control characters.
func Clip(text string) string {
	text = replaced(strings.ToValidUTF8(text, "?"), ' ')
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "..."
	}
	return text
}

func replaced(text string, by rune) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return by
		}
		return r
	}, text)
}
