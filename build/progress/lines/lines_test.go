package lines

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLinesComeOutWholeAndHarmless(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"two lines", "a\nb\n", []string{"a", "b"}},
		{"no newline at the end", "a\nb", []string{"a", "b"}},
		{"empty lines stay", "\n\na\n", []string{"", "", "a"}},
		{"CR LF", "a\r\nb\r\n", []string{"a", "b"}},
		{"progress bar keeps its last state", "10%\r50%\r100%\ndone\n", []string{"100%", "done"}},
		{"colours go", "\x1b[31mred\x1b[0m\n", []string{"red"}},
		{"title goes, ended by BEL", "a\x1b]0;evil\x07b\n", []string{"ab"}},
		{"title goes, ended by ST", "a\x1b]0;evil\x1b\\b\n", []string{"ab"}},
		{"device string goes", "a\x1bP+q544e\x1b\\b\n", []string{"ab"}},
		{"string without an end hides one line at most", "a\x1b]0;evil\nb\n", []string{"a", "b"}},
		{"charset selection goes", "a\x1b(Bb\n", []string{"ab"}},
		{"C1 control sequence goes", "a\u009b31mb\n", []string{"a31mb"}},
		{"raw C1 byte isn't UTF-8", "a\x9b31mb\n", []string{"a\ufffd31mb"}},
		{"not UTF-8", "a\xff\xfeb\n", []string{"a\ufffd\ufffdb"}},
		{"bidirectional marks go", "a\u202eb\u2066c\n", []string{"abc"}},
		{"controls go, tab stays", "a\x00\x07\x0b\tb\x7f\n", []string{"a\tb"}},
		{"backspace", "ab\bc\n", []string{"ac"}},
		{"runes stay", "é漢😀\n", []string{"é漢😀"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for size := 1; size <= len(c.in); size++ {
				var l Stream
				var got []string
				emit := func(l Line) { got = append(got, l.Text) }
				for piece := range slices.Chunk([]byte(c.in), size) {
					l.Take(piece, emit)
				}
				l.Flush(emit)
				if !slices.Equal(got, c.want) {
					t.Errorf("in pieces of %d: got %q, want %q", size, got, c.want)
				}
			}
		})
	}
}

func TestLongLineIsBrokenBetweenRunes(t *testing.T) {
	in := strings.Repeat("漢", 3*Most)
	var l Stream
	var got strings.Builder
	pieces := 0
	emit := func(l Line) {
		if len(l.Text) > Most {
			t.Errorf("piece of %d bytes", len(l.Text))
		}
		if l.More != (pieces > 0) {
			t.Errorf("piece %d: more is %v", pieces, l.More)
		}
		pieces++
		got.WriteString(l.Text)
	}
	l.Take([]byte(in), emit)
	l.Flush(emit)
	if got.String() != in {
		t.Error("the pieces don't make the line")
	}
	l.Take([]byte("next\n"), func(l Line) {
		if l.More || l.Text != "next" {
			t.Errorf("next line is %+v", l)
		}
	})
}

func TestTextIsOnOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"RUN true":                  "RUN true",
		"RUN <<EOF\necho\nEOF\n":    "RUN <<EOF echo EOF",
		"RUN \x1b[2Jx":              "RUN x",
		"no such thing\nhint: make": "no such thing; hint: make",
		strings.Repeat("a", 100000): strings.Repeat("a", MostText),
	} {
		if got := One(in); got != want {
			t.Errorf("%.20q: got %.20q (%d bytes)", in, got, len(got))
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\x1b[31mb\r\n\xff"), 3)
	f.Add([]byte("\x1b]0;x\x1b\\\u202e\x9b"), 1)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		var whole, parts []Line
		var l Stream
		l.Take(in, func(l Line) { whole = append(whole, l) })
		l.Flush(func(l Line) { whole = append(whole, l) })
		for piece := range slices.Chunk(in, max(size, 1)) {
			l.Take(piece, func(l Line) { parts = append(parts, l) })
		}
		l.Flush(func(l Line) { parts = append(parts, l) })
		if !slices.Equal(whole, parts) {
			t.Errorf("pieces of %d give %+v instead of %+v", size, parts, whole)
		}
		for _, l := range whole {
			if !utf8.ValidString(l.Text) || strings.ContainsFunc(l.Text, func(r rune) bool { return !Visible(r) }) {
				t.Errorf("unsafe line %q", l.Text)
			}
		}
	})
}

func TestTextIsHarmlessAndWhole(t *testing.T) {
	for in, want := range map[string]string{
		"plain: \tas it is\n\nhint: é漢😀\n": "plain: \tas it is\n\nhint: é漢😀\n",
		"\x1b[2J\x1b]0;evil\a\nnext":       "[2J]0;evil\nnext",
		"a\u009b31m\x9b\xffb":              "a31m\ufffd\ufffdb",
		"bad\rgood\b\x7f\x00":              "badgood",
		"a\u202eb\u2066c\u2028d\u200fe":    "abcde",
	} {
		var b strings.Builder
		n, err := Safe(&b).Write([]byte(in))
		if b.String() != want || n != len(in) || err != nil {
			t.Errorf("%q gives %q, %d, %v; want %q", in, &b, n, err, want)
		}
	}
}
