package printable_test

import (
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/internal/printable"
)

func TestWhatATerminalWouldObeyIsReplaced(t *testing.T) {
	for text, want := range map[string]struct{ line, clip, one string }{
		"":                     {"", "", ""},
		"plain, and naïve 世界":  {"plain, and naïve 世界", "plain, and naïve 世界", "plain, and naïve 世界"},
		"a\x1b[31mb\nc\td\x00": {"a?[31mb?c?d?", "a [31mb c d ", "a [31mb c d"},
		"\u202eevil\u0085":     {"?evil?", " evil ", "evil"},
		"broken \xff\xfe":      {"broken ??", "broken ?", "broken"},
	} {
		if got := printable.Line(text); got != want.line {
			t.Errorf("line of %q: %q, want %q", text, got, want.line)
		}
		if got := printable.Clip(text); got != want.clip {
			t.Errorf("clip of %q: %q, want %q", text, got, want.clip)
		}
		if got := printable.OneLine(text); got != want.one {
			t.Errorf("one line of %q: %q, want %q", text, got, want.one)
		}
	}
}

func TestLongTextsAreClipped(t *testing.T) {
	long := strings.Repeat("世", 300)
	if got := printable.Clip(long); got != long {
		t.Errorf("300 characters become %d bytes", len(got))
	}
	if got := printable.Clip(long + "x"); got != long+"..." {
		t.Errorf("301 characters become %d bytes", len(got))
	}
}
