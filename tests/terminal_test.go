package tests_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// hostileText has what a terminal would obey: sequences of ESC and of C1 controls, in UTF-8 and raw, a title, a
// carriage return, and marks that turn text around.
const hostileText = "x\x1b[2Jy\u009b31mz\x9b1mt\x1b]0;title\au\u202ev\u2066w"

// obeyed are the parts of it that must not come through.
func obeyed() []string { return []string{"\x1b", "\u009b", "\x9b", "\a", "\u202e", "\u2066"} }

func checkHarmless(t *testing.T, what, text string, mustHave ...string) {
	t.Helper()
	for _, bad := range obeyed() {
		if strings.Contains(text, bad) &&
			(bad != "\x9b" || strings.Contains(strings.ToValidUTF8(text, "\x00\x00"), "\x00\x00")) {
			t.Errorf("%s: %q is in %q", what, bad, text)
		}
	}
	for _, part := range mustHave {
		if !strings.Contains(text, part) {
			t.Errorf("%s: no %q in %q", what, part, text)
		}
	}
}

// TestMessagesDoNothingToATerminal has every kind of message say hostile text, through a pipe, and what goes to
// standard output on a terminal.
func TestMessagesDoNothingToATerminal(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/f", "f")
		plain := strings.ReplaceAll(hostileText, "[", "(") // no pattern
		for name, file := range map[string]string{
			"instruction":     "FROM base\n" + hostileText + " a\n",
			"image":           "FROM base:" + hostileText + "\n",
			"stage":           "FROM base\nCOPY --from=" + hostileText + " a /\n",
			"missing source":  "FROM base\nCOPY \"" + plain + "\" /\n",
			"flag":            "FROM base\nCOPY --" + hostileText + "=1 f /\n",
			"failing command": "FROM base\nRUN echo '" + hostileText + "' && exit 3\n",
			"failing exec": "FROM base\nRUN [\"/bin/false\", \"" + strings.ReplaceAll(hostileText, "\x1b", "\\u001b") +
				"\"]\n",
			"user":             "FROM base\nUSER " + hostileText + "\nRUN true\n",
			"variable":         "FROM base\nENV A=${B?" + hostileText + "}\n",
			"mount":            "FROM base\nRUN --mount=type=" + hostileText + " true\n",
			"heredoc":          "FROM base\nRUN <<" + hostileText + "\ntrue\n",
			"chown":            "FROM base\nCOPY --chown=" + hostileText + " f /\n",
			"signal":           "FROM base\nSTOPSIGNAL " + hostileText + "\n",
			"address":          "FROM scratch\nADD http://127.0.0.1:1/" + hostileText + " /\n",
			"directive":        "# syntax=" + hostileText + "\n# escape=" + hostileText + "\nFROM base\n",
			"git":              "FROM scratch\nADD https://127.0.0.1:1/" + hostileText + ".git /\n",
			"missing in stage": "FROM base AS a\nFROM base\nCOPY --from=a /" + plain + " /\n",
		} {
			s.write(t, "ctx/Containerfile", file)
			r := s.cooper(t, "build", "--no-cache", "ctx")
			if r.Code == 0 {
				t.Errorf("%s: status 0", name)
			}
			checkHarmless(t, name, r.Stderr+r.Stdout, "cooper: ")
		}
		for _, flags := range [][]string{{"-t", hostileText}, {"--" + hostileText}, {"-f", hostileText},
			{"--target", hostileText}, {"-o", "type=" + hostileText},
			{"--build-context", "a=" + hostileText}, {"--secret", "id=a,src=" + hostileText}, {"--platform", hostileText},
			{hostileText}} {
			r := s.cooper(t, append(append([]string{"build"}, flags...), "ctx")...)
			checkHarmless(t, flags[0], r.Stderr, "cooper: ")
		}
		checkHarmless(t, "verb", s.cooper(t, hostileText).Stderr, "cooper: ")
		s.write(t, "ctx/Containerfile", "# check=skip=none\nARG A=\""+hostileText+"\"\nFROM base AS stage\nCOPY f /"+
			hostileText+"\nmaintainer "+hostileText+"\n")
		for _, args := range [][]string{{"check", "ctx"}, {"build", "--call=outline", "ctx"},
			{"build", "--call=targets", "ctx"}, {"check", hostileText}} {
			checkHarmless(t, strings.Join(args, " "), s.onTerminal(t, args...))
		}
		s.write(t, "ctx/Containerfile", "FROM base\nRUN echo hello '"+hostileText+"'; exit 3\n")
		checkHarmless(t, "quiet", s.cooper(t, "build", "--progress=quiet", "ctx").Stderr, "hello", "cooper: ")
		checkHarmless(t, "json", s.cooper(t, "build", "--progress=json", "ctx").Stderr, "hello", "cooper: ")
		for _, args := range [][]string{{"df"}, {"df", "--format=json"}, {"doctor"}} {
			checkHarmless(t, args[0], s.onTerminal(t, args...))
		}
	})
}

// onTerminal runs cooper with its outputs on a terminal, whatever its status, and gives what the terminal gets.
func (s *site) onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	master, slave := openTerminal(t)
	cmd := s.command(suite.cooper, args...)
	cmd.Stdout, cmd.Stderr = slave, slave
	err := cmd.Start()
	if err = errors.Join(err, slave.Close()); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(master)
	if err != nil && !errors.Is(err, syscall.EIO) { // which is the end of what is written to a terminal
		t.Fatal(err)
	}
	_ = cmd.Wait() // it may fail
	return string(text)
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(filepath.Join("/dev/pts", strconv.Itoa(n)), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
