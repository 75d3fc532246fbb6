package show

import "testing"

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
