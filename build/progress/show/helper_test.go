package show

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// clock is a clock that the test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1700000000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// screen is a terminal that knows what the live view uses, and fails the test on anything else.
type screen struct {
	t             *testing.T
	mu            sync.Mutex
	width, height int
	cells         [][]rune
	row, col      int
	// scrolled are the rows that have left at the top.
	scrolled []string
	noWrap   bool
	writes   int
}

func newScreen(t *testing.T, width, height int) *screen {
	return &screen{t: t, width: width, height: height, cells: make([][]rune, height)}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	for text := string(p); text != ""; {
		r, n := utf8.DecodeRuneInString(text)
		switch {
		case r == 0x1b:
			n = s.escape(text)
		case r == '\n':
			s.col = 0
			s.down()
		case r == '\r':
			s.col = 0
		case r < ' ' || r == utf8.RuneError:
			s.t.Errorf("control character or invalid rune %q on the terminal", r)
		default:
			s.put(r)
		}
		text = text[n:]
	}
	return len(p), nil
}

func (s *screen) down() {
	if s.row++; s.row == s.height {
		s.scrolled = append(s.scrolled, string(s.cells[0]))
		s.cells = append(s.cells[1:], nil)
		s.row--
	}
}

func (s *screen) put(r rune) {
	w := runeWidth(r)
	if w == 0 {
		return
	}
	if s.col+w > s.width {
		if s.noWrap {
			s.col = s.width - w
		} else {
			s.col = 0
			s.down()
		}
	}
	for len(s.cells[s.row]) < s.col {
		s.cells[s.row] = append(s.cells[s.row], ' ')
	}
	s.cells[s.row] = append(s.cells[s.row][:s.col],
		append([]rune{r}, s.cells[s.row][min(s.col+1, len(s.cells[s.row])):]...)...)
	s.col += w
}

func (s *screen) escape(text string) int {
	end := strings.IndexAny(text[2:], "ABCDEFGHJKhlm") + 3
	arg, op := text[2:end-1], text[end-1]
	switch {
	case text[1] == '[' && op == 'A':
		n, err := strconv.Atoi(arg)
		if err != nil || n > s.row {
			s.t.Errorf("cursor up %q from row %d", arg, s.row)
		}
		s.row -= n
	case text[1] == '[' && op == 'K' && arg == "":
		// After the last column the cursor stays on it until something else is written.
		s.cells[s.row] = s.cells[s.row][:min(s.col, s.width-1, len(s.cells[s.row]))]
	case text[1] == '[' && op == 'J' && arg == "":
		s.cells[s.row] = s.cells[s.row][:min(s.col, len(s.cells[s.row]))]
		for i := s.row + 1; i < s.height; i++ {
			s.cells[i] = nil
		}
	case text[1] == '[' && arg == "?7":
		s.noWrap = op == 'l'
	case text[1] == '[' && op == 'm':
	default:
		s.t.Errorf("escape sequence %q on the terminal", text[:end])
	}
	return end
}

// text is the whole terminal, scrolled rows included, without blanks at line ends and empty rows at the end.
func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := append([]string{}, s.scrolled...)
	for _, r := range s.cells {
		rows = append(rows, string(r))
	}
	for i := range rows {
		rows[i] = strings.TrimRight(rows[i], " ")
	}
	return strings.TrimRight(strings.Join(rows, "\n"), "\n")
}
