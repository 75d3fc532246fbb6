package dockerfile

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

const (
	shownLines   = 8   // how many lines of one instruction an error shows
	shownColumns = 160 // how many runes of one line an error shows
)

// An Error says what is wrong with a Dockerfile, and where.
type Error struct {
	Location Location
	// Line is the text at Location: one line, or the lines of the whole instruction, joined by line ends. It is empty if
	// Location names no line.
	Line string
	// Message says what is wrong, Hint what would be right; Hint may be empty.
	Message, Hint string
	// Err is the cause; nil if Message tells all.
	Err error
}

// Error gives "FILE:LINE: message: cause", the lines of the Dockerfile, each marked with ">", and the hint, each on
// lines of its own. Control characters of the file are escaped, so that a hostile file can't control the terminal, and
// credentials in URLs are masked.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(printable(e.Location.File, -1))
	if e.Location.StartLine > 0 {
		fmt.Fprintf(&b, ":%d", e.Location.StartLine)
	}
	b.WriteString(": " + e.Summary())
	if e.Location.StartLine > 0 && e.Line != "" {
		e.writeLines(&b)
	}
	if e.Hint != "" {
		b.WriteString("\nhint: " + printable(e.Hint, -1))
	}
	return b.String()
}

// Summary is the message with its cause, without place, lines and hint.
func (e *Error) Summary() string {
	text := printable(e.Message, -1)
	if e.Err != nil {
		text += ": " + printable(e.Err.Error(), -1)
	}
	return text
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) writeLines(b *strings.Builder) {
	lines := strings.Split(e.Line, "\n")
	width := len(fmt.Sprint(e.Location.StartLine + min(len(lines), shownLines) - 1))
	for n, line := range lines {
		if n == shownLines {
			fmt.Fprintf(b, "\n> %*s | (%d more lines)", width, "", len(lines)-n)
			break
		}
		fmt.Fprintf(b, "\n> %*d | %s", width, e.Location.StartLine+n, printable(remote.Redact(line), shownColumns))
	}
}

// Printable escapes the characters of a text that a terminal would act on, save for line ends and tabs.
func Printable(text string) string { return printable(text, -1) }

// printable escapes what a terminal would act on, keeps line ends and tabs, and cuts after limit runes; -1 is no limit.
func printable(text string, limit int) string {
	var b strings.Builder
	count := 0
	for at, r := range text {
		if count == limit {
			b.WriteString("...")
			break
		}

		count++
		switch {
		case r == '\n' || r == '\t':
			b.WriteRune(r)
		case r == utf8.RuneError:
			if _, size := utf8.DecodeRuneInString(text[at:]); size == 1 {
				fmt.Fprintf(&b, `\x%02x`, text[at])
			} else {
				b.WriteRune(r)
			}
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}

	return b.String()
}
