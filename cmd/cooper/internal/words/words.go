// Package words splits texts into words as a shell does.
package words

import (
	"errors"
	"strings"
)

// ErrQuote is the error of a text that ends within quotes.
var ErrQuote = errors.New("a quote isn't closed")

// Split splits a text into words as a shell does, with quotes and backslashes, and expands nothing.
func Split(text string) (words []string, err error) {
	var word strings.Builder
	quote, begun := rune(0), false
	runes := []rune(text)
	for n := 0; n < len(runes); n++ {
		r := runes[n]
		switch {
		case quote == 0 && strings.ContainsRune(" \t\n", r):
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		case r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, begun = r, true
		case r == '\\' && quote != '\'' && n+1 < len(runes) &&
			(quote == 0 || strings.ContainsRune("\"\\$`", runes[n+1])):
			n++
			word.WriteRune(runes[n])
			begun = true
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if quote != 0 {
		return nil, ErrQuote
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}
