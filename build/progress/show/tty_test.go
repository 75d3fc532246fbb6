package show

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// stage is a live view whose frames are drawn when the test says so.
type stage struct {
	*tty
	screen *screen
	clock  *clock
}

func newStage(t *testing.T, width, height int) *stage {
	c, sc := newClock(), newScreen(t, width, height)
	return &stage{
		screen: sc, clock: c,
		tty: newTTY(ttyOptions{
			out: sc, size: func() (terminal.Size, error) { return terminal.Size{Width: sc.width, Height: sc.height}, nil },
			color: true, now: c.now, frames: make(chan time.Time),
		}),
	}
}

// frame draws one; the loop is idle, since its channel never fires.
func (s *stage) frame() { s.draw(false) }

func expect(t *testing.T, s *screen, want string) {
	t.Helper()
	if got, want := s.text(), strings.Trim(want, "\n"); got != want {
		t.Errorf("terminal shows:\n%s\nwant:\n%s", got, want)
	}
}

func TestLiveViewShowsRunningStepsAndCollapsesFinishedOnes(t *testing.T) {
	s := newStage(t, 40, 20)
	s.Emit(progress.StepStarted{ID: 1, Name: "[1/3]", Text: "FROM debian"})
	s.Emit(progress.StepDone{ID: 1, Cached: true})
	s.Emit(progress.StepStarted{ID: 2, Name: "[2/3]", Text: "RUN apt-get install something long"})
	for n := range 8 {
		s.Emit(progress.StepOutput{ID: 2, Data: fmt.Appendf(nil, "line %d\n", n)})
	}
	s.Emit(progress.StepOutput{ID: 2, Data: []byte("10%\r20%")})
	s.Emit(progress.StepStarted{ID: 3, Name: "[x 1/1]", Text: "COPY . ."})
	s.Emit(progress.Transfer{ID: 3, What: "context", Done: 1500, Total: 3000})
	s.clock.add(1500 * time.Millisecond)
	s.frame()
	expect(t, s.screen, `
 => CACHED [1/3] FROM debian        0.0s
[+] Building 1.5s (1 done, 1 cached, 2 …
 => [2/3] RUN apt-get install some… 1.5s
 => => # line 3
 => => # line 4
 => => # line 5
 => => # line 6
 => => # line 7
 => => # 20%
 => [x 1/1] COPY . .                1.5s
 => => context 1.50kB / 3.00kB
`)
	s.Emit(progress.StepDone{ID: 2, Reason: "new"})
	s.clock.add(time.Second)
	s.frame()
	expect(t, s.screen, `
 => CACHED [1/3] FROM debian        0.0s
 => [2/3] RUN apt-get install some… 1.5s
[+] Building 2.5s (2 done, 1 cached, 1 …
 => [x 1/1] COPY . .                2.5s
 => => context 1.50kB / 3.00kB
`)
	s.Emit(progress.StepDone{ID: 3})
	closed(t, s.tty)
	expect(t, s.screen, `
 => CACHED [1/3] FROM debian        0.0s
 => [2/3] RUN apt-get install some… 1.5s
 => [x 1/1] COPY . .                2.5s
[+] Building 2.5s (3 done, 1 cached)
`)
}

func TestLiveViewEndsWithTheFailedStepsOutput(t *testing.T) {
	s := newStage(t, 60, 30)
	s.Emit(progress.StepStarted{ID: 1, Name: "[1/2]", Text: "RUN make"})
	s.Emit(progress.StepStarted{ID: 2, Name: "[x 1/1]", Text: "RUN sleep 9"})
	for n := range 150 {
		s.Emit(progress.StepOutput{ID: 1, Data: fmt.Appendf(nil, "out \x1b[2J%d\n", n)})
	}
	s.frame()
	s.Emit(progress.StepDone{ID: 1, Err: errors.New("exit status 2")})
	closed(t, s.tty)
	want := []string{
		" => ERROR [1/2] RUN make                                0.0s",
		" => CANCELED [x 1/1] RUN sleep 9                        0.0s",
		"[+] Building 0.0s (0 done, 1 failed, 1 canceled)",
		"------",
		" > [1/2] RUN make: exit status 2",
	}
	for n := 50; n < 150; n++ {
		want = append(want, "0.000 out "+strconv.Itoa(n))
	}
	expect(t, s.screen, strings.Join(append(want, "------"), "\n"))
}

func TestLiveViewFitsAnyTerminal(t *testing.T) {
	for _, dim := range [][2]int{{1, 1}, {5, 3}, {20, 5}, {80, 4}, {80, 24}, {300, 100}} {
		t.Run(fmt.Sprint(dim), func(t *testing.T) {
			s := newStage(t, dim[0], dim[1])
			for id := range 12 {
				s.Emit(progress.StepStarted{ID: id, Name: "[漢字 1/2]", Text: "RUN " + strings.Repeat("x", id*10)})
				s.Emit(progress.StepOutput{ID: id, Data: []byte(strings.Repeat("\t漢", 100) + "\nb\nc\n")})
			}
			for range 3 {
				s.frame()
				if dim[1] >= 3 && len(s.screen.scrolled) > 0 {
					t.Fatalf("the block has scrolled: %q", s.screen.scrolled)
				}
			}
			closed(t, s.tty)
		})
	}
}

func TestLiveViewSurvivesANarrowerTerminal(t *testing.T) {
	if got := rows([]int{40, 10, 0}, 20); got != 4 {
		t.Errorf("lines of 40, 10 and 0 cells take %d rows of 20", got)
	}
}

func TestNothingIsDrawnWhenNothingHappens(t *testing.T) {
	s := newStage(t, 80, 24)
	for range 5 {
		s.frame()
	}
	closed(t, s.tty)
	if s.screen.writes != 0 {
		t.Errorf("%d writes for a build without events", s.screen.writes)
	}
}

// openPTY gives both ends of a pseudo-terminal.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

func TestAutoPicksTheViewThatTheOutputCanShow(t *testing.T) {
	_, slave := openPTY(t)
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 123, Row: 45}); err != nil {
		t.Fatal(err)
	}
	if got, err := terminal.SizeOf(slave); err != nil || got != (terminal.Size{Width: 123, Height: 45}) {
		t.Errorf("terminal size is %v, %v", got, err)
	}
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for _, c := range []struct {
		name    string
		mode    Mode
		out     *os.File
		term    string
		noColor string
		want    string
	}{
		{"auto on a terminal", ModeAuto, slave, "xterm", "", "*show.tty with colour"},
		{"auto with NO_COLOR", ModeAuto, slave, "xterm", "1", "*show.tty"},
		{"auto in a file", ModeAuto, file, "xterm", "", "*show.plain"},
		{"tty in a file", ModeTTY, file, "xterm", "", "*show.plain"},
		{"tty on a dumb terminal", ModeTTY, slave, "dumb", "", "*show.plain"},
		{"tty on an unknown terminal", ModeTTY, slave, "", "", "*show.plain"},
		{"plain on a terminal", ModePlain, slave, "xterm", "", "*show.plain"},
		{"quiet", ModeQuiet, slave, "xterm", "", "*show.quiet"},
		{"json", ModeJSON, slave, "xterm", "", "*show.jsonLines"},
		{"rawjson", ModeRawJSON, slave, "xterm", "", "*show.solveStatuses"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("TERM", c.term)
			t.Setenv("NO_COLOR", c.noColor)
			r := New(c.mode, c.out)
			got := fmt.Sprintf("%T", r)
			if live, ok := r.(*tty); ok && live.color {
				got += " with colour"
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			closed(t, r)
		})
	}
}
