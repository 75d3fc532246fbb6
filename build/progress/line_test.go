package progress

import (
	"encoding/json"
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
				var l lines
				var got []string
				emit := func(l line) { got = append(got, l.text) }
				for piece := range slices.Chunk([]byte(c.in), size) {
					l.write(piece, emit)
				}
				l.flush(emit)
				if !slices.Equal(got, c.want) {
					t.Errorf("in pieces of %d: got %q, want %q", size, got, c.want)
				}
			}
		})
	}
}

func TestLongLineIsBrokenBetweenRunes(t *testing.T) {
	in := strings.Repeat("漢", 3*maxLine)
	var l lines
	var got strings.Builder
	pieces := 0
	emit := func(l line) {
		if len(l.text) > maxLine {
			t.Errorf("piece of %d bytes", len(l.text))
		}
		if l.more != (pieces > 0) {
			t.Errorf("piece %d: more is %v", pieces, l.more)
		}
		pieces++
		got.WriteString(l.text)
	}
	l.write([]byte(in), emit)
	l.flush(emit)
	if got.String() != in {
		t.Error("the pieces don't make the line")
	}
	l.write([]byte("next\n"), func(l line) {
		if l.more || l.text != "next" {
			t.Errorf("next line is %+v", l)
		}
	})
}

func TestTextIsOnOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"RUN true":                  "RUN true",
		"RUN <<EOF\necho\nEOF\n":    "RUN <<EOF echo EOF",
		"RUN \x1b[2Jx":              "RUN x",
		strings.Repeat("a", 100000): strings.Repeat("a", maxText),
	} {
		if got := oneLine(in); got != want {
			t.Errorf("%.20q: got %.20q (%d bytes)", in, got, len(got))
		}
	}
}

func TestFitCutsAtTheWidth(t *testing.T) {
	for _, c := range []struct {
		in    string
		width int
		want  string
		cells int
	}{
		{"abc", 3, "abc", 3},
		{"abcd", 3, "ab…", 3},
		{"漢字", 4, "漢字", 4},
		{"漢字漢", 4, "漢…", 3},
		{"e\u0301e\u0301", 2, "e\u0301e\u0301", 2},
		{"\ta", 9, "        a", 9},
		{"abc", 0, "", 0},
	} {
		if got, cells := fit(c.in, c.width); got != c.want || cells != c.cells {
			t.Errorf("fit(%q, %d) = %q, %d; want %q, %d", c.in, c.width, got, cells, c.want, c.cells)
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\x1b[31mb\r\n\xff"), 3)
	f.Add([]byte("\x1b]0;x\x1b\\\u202e\x9b"), 1)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		var whole, parts []line
		var l lines
		l.write(in, func(l line) { whole = append(whole, l) })
		l.flush(func(l line) { whole = append(whole, l) })
		for piece := range slices.Chunk(in, max(size, 1)) {
			l.write(piece, func(l line) { parts = append(parts, l) })
		}
		l.flush(func(l line) { parts = append(parts, l) })
		if !slices.Equal(whole, parts) {
			t.Errorf("pieces of %d give %+v instead of %+v", size, parts, whole)
		}
		for _, l := range whole {
			if !utf8.ValidString(l.text) || strings.ContainsFunc(l.text, func(r rune) bool { return !visible(r) }) {
				t.Errorf("unsafe line %q", l.text)
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

func TestJSONHidesNothingFromWhoLooksAtIt(t *testing.T) {
	const text = "\x1b[2J\u009b\u202e\x7f\U000e0001\n\"é😀"
	var b strings.Builder
	r := newJSON(&b)
	r.Emit(Note{Text: text})
	for _, c := range strings.TrimSuffix(b.String(), "\n") {
		if !visible(c) {
			t.Errorf("%q in %q", c, &b)
		}
	}
	var got struct{ Text string }
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil || got.Text != text {
		t.Errorf("%q is read as %q, %v", &b, got.Text, err)
	}
}
