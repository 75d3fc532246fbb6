package show

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/lines"
)

func TestJSONHidesNothingFromWhoLooksAtIt(t *testing.T) {
	const text = "\x1b[2J\u009b\u202e\x7f\U000e0001\n\"é😀"
	var b strings.Builder
	r := newJSON(&b)
	r.Emit(progress.Note{Text: text})
	for _, c := range strings.TrimSuffix(b.String(), "\n") {
		if !lines.Visible(c) {
			t.Errorf("%q in %q", c, &b)
		}
	}
	var got struct{ Text string }
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil || got.Text != text {
		t.Errorf("%q is read as %q, %v", &b, got.Text, err)
	}
}
