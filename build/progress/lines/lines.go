// Package lines makes what others have written harmless to show, whoever wrote it, and puts the lines of a stream
// together.
//
// Escape sequences, control and bidirectional characters are dropped and bytes that aren't UTF-8 become U+FFFD. A bare
// carriage return starts the line again, as on a terminal, so that only the last state of a progress bar is kept.
package lines

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// Most is the length in bytes at which a line is broken.
	Most = 8 << 10
	// MostText bounds names, instructions, notes and messages, in bytes.
	MostText = 4 << 10
)

// escapeState is the position of a stream in an escape sequence (ECMA-48).
type escapeState uint8

const (
	ground escapeState = iota
	// escape follows ESC.
	escape
	// control is inside a CSI sequence.
	control
	// text is inside an OSC, DCS, SOS, PM or APC string, textEscape after an ESC there.
	text
	textEscape
)

// Stream puts the lines of a stream together and makes them safe to show. Its memory is bounded. The zero value is
// ready for use.
type Stream struct {
	buf   []byte
	state escapeState
	// back is set after a carriage return: the next byte, unless it is a newline, starts the line again.
	back bool
	// broken is set while the rest of a line that was too long is read.
	broken bool
}

// Line is a whole line without its newline, or a piece of one that is too long.
type Line struct {
	Text string
	// More tells that this continues the piece before it.
	More bool
}

// Take takes the next piece of the stream and calls emit for each line that is complete.
func (l *Stream) Take(p []byte, emit func(Line)) {
	for len(p) > 0 {
		n := l.plain(p)
		if n > 0 {
			l.add(p[:n], emit)
			p = p[n:]
			continue
		}
		l.step(p[0], emit)
		p = p[1:]
	}
}

// Flush gives the line that has no newline yet.
func (l *Stream) Flush(emit func(Line)) {
	if len(l.buf) > 0 || l.broken {
		l.end(emit)
	}
	l.state, l.back = ground, false
}

// Current is the line so far.
func (l *Stream) Current() string { return clean(l.buf) }

// plain counts the bytes at the front of p that are text.
func (l *Stream) plain(p []byte) int {
	if l.state != ground {
		return 0
	}
	for i, c := range p {
		if c < ' ' && c != '\t' || c == 0x7f {
			return i
		}
	}
	return len(p)
}

func (l *Stream) add(p []byte, emit func(Line)) {
	if l.back {
		l.back = false
		l.buf = l.buf[:0]
	}
	for len(l.buf)+len(p) > Most {
		n := Most - len(l.buf)
		l.buf = append(l.buf, p[:n]...)
		p = p[n:]
		rest := Incomplete(l.buf)
		emit(Line{clean(l.buf[:len(l.buf)-rest]), l.broken})
		l.broken = true
		copy(l.buf, l.buf[len(l.buf)-rest:])
		l.buf = l.buf[:rest]
	}
	l.buf = append(l.buf, p...)
}

// step takes a byte that is a control character or part of an escape sequence.
func (l *Stream) step(c byte, emit func(Line)) {
	// A newline ends any sequence, so that one without an end can't hide the rest of the output.
	if c == '\n' {
		l.state = ground
		l.end(emit)
		return
	}
	if l.state != ground {
		l.state = l.state.after(c)
		return
	}
	switch c {
	case 0x1b:
		l.state = escape
	case '\r':
		l.back = true
	case '\b':
		if n := len(l.buf); n > 0 && l.buf[n-1] < utf8.RuneSelf {
			l.buf = l.buf[:n-1]
		}
	}
}

// after gives the state of an escape sequence after its next byte, c.
func (e escapeState) after(c byte) escapeState {
	switch e {
	case escape:
		switch {
		case c == '[':
			return control
		case strings.IndexByte("]PX^_", c) >= 0:
			return text
		case c == 0x1b || c >= 0x20 && c <= 0x2f:
			// Another start, or an intermediate byte as in "ESC ( B".
			return escape
		}
		return ground
	case control:
		if c >= 0x40 && c <= 0x7e {
			return ground
		}
		return control
	}

	switch {
	case c == 0x07 || e == textEscape && c == '\\':
		return ground
	case c == 0x1b:
		return textEscape
	}

	return text
}

func (l *Stream) end(emit func(Line)) {
	emit(Line{clean(l.buf), l.broken})
	l.buf = l.buf[:0]
	l.back, l.broken = false, false
}

// Incomplete counts the bytes at the end of p that begin a rune and don't finish it.
func Incomplete(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if c := p[len(p)-n]; utf8.RuneStart(c) {
			if !utf8.FullRune(p[len(p)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// clean makes bytes without C0 controls printable.
func clean(p []byte) string {
	ascii := true
	for _, c := range p {
		if c >= utf8.RuneSelf || c == 0 {
			ascii = false
			break
		}
	}
	if ascii {
		return string(p)
	}
	var b strings.Builder
	b.Grow(len(p))
	for _, r := range string(p) {
		if Visible(r) {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Visible reports whether a rune shows or joins what shows. Left out are C1 controls, some of which terminals obey as
// they do escape sequences, and the marks that reorder text, which can make a line read as another one.
func Visible(r rune) bool {
	switch {
	case r == '\t' || r == 0x200d:
		return true
	case r < ' ' || r >= 0x7f && r <= 0x9f:
		return false
	}
	return !unicode.Is(unicode.Cf, r) && r != 0x2028 && r != 0x2029
}

// One makes text of any origin safe to show on one line.
func One(s string) string {
	simple := len(s) <= MostText
	for i := 0; simple && i < len(s); i++ {
		simple = s[i] >= ' ' && s[i] < 0x7f
	}
	if simple {
		return s
	}
	var (
		l Stream
		b strings.Builder
	)
	join := func(part Line) {
		if b.Len() > 0 && !part.More {
			if strings.HasPrefix(part.Text, "hint: ") {
				b.WriteByte(';')
			}
			b.WriteByte(' ')
		}
		b.WriteString(part.Text)
	}
	l.Take([]byte(s[:min(len(s), MostText)]), join)
	l.Flush(join)
	return strings.TrimRight(b.String(), " ")
}

// Text makes text of any origin safe to show on a terminal, lines and tabs as they are: control and bidirectional
// characters are dropped, and bytes that aren't UTF-8 become U+FFFD. What an escape sequence has after ESC stays and
// shows, so that nothing of a message can be hidden.
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || Visible(r) {
			return r
		}
		return -1
	}, s)
}

// Safe gives a writer that writes to w what [Text] makes of each piece that it is given; each piece is treated alone.
func Safe(w io.Writer) io.Writer { return safe{w} }

type safe struct{ io.Writer }

func (s safe) Write(p []byte) (int, error) {
	if _, err := io.WriteString(s.Writer, Text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
