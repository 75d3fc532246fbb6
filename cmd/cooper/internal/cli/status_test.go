package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// statusOf is the status of an error, and what is said about it.
func statusOf(t *testing.T, err error) (int, string) {
	t.Helper()
	f, createErr := os.Create(filepath.Join(t.TempDir(), "errors"))
	if createErr != nil {
		t.Fatal(createErr)
	}
	defer func() { _ = f.Close() }()
	code := status(command.Env{Stderr: f}, err)
	text, readErr := os.ReadFile(f.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	return code, string(text)
}

func TestTheStatusSaysWhoseFaultItIs(t *testing.T) {
	t.Setenv("GOTRACEBACK", "")
	panicked := guard.Call(func() error { panic("odd") })
	for name, tt := range map[string]struct {
		err  error
		want int
	}{
		"nothing":              {nil, 0},
		"anything":             {errors.New("x"), 1},
		"a failed step":        {&build.StepError{ExitCode: 7, Err: errors.New("x")}, 1},
		"the command line":     {command.Usagef("x"), 2},
		"wrapped":              {fmt.Errorf("more: %w", command.Usagef("x")), 2},
		"what a map asks for":  {fmt.Errorf("more: %w", userns.ErrBadRequest), 2},
		"the machine":          {fmt.Errorf("more: %w", build.ErrMachine), 125},
		"a namespace":          {&reexec.MachineError{Problem: "x", Err: errors.New("y")}, 125},
		"the store's place":    {&build.StoreError{}, 125},
		"no IDs":               {userns.ErrNoSubIDs, 125},
		"too few IDs":          {userns.ErrTooFewSubIDs, 125},
		"bad lines of IDs":     {userns.ErrBadSubIDs, 125},
		"no getsubids":         {userns.ErrNoGetsubids, 125},
		"no free IDs":          {userns.ErrNoFreeIDs, 125},
		"a map of nobody's":    {userns.ErrBadMap, 125},
		"a panic":              {panicked, 125},
		"Ctrl-C":               {command.Interrupted{Signal: syscall.SIGINT}, 130},
		"SIGTERM":              {fmt.Errorf("step: %w", command.Interrupted{Signal: syscall.SIGTERM}), 143},
		"SIGHUP, and a remedy": {errors.Join(errors.New("x"), command.Interrupted{Signal: syscall.SIGHUP}), 129},
		"another process":      {command.StatusError(42), 42},
	} {
		if got, text := statusOf(t, tt.err); got != tt.want {
			t.Errorf("%s: status %d, not %d: %s", name, got, tt.want, text)
		}
	}
}

func TestAnErrorIsSaidOnceAndASilentOneNotAtAll(t *testing.T) {
	t.Setenv("GOTRACEBACK", "")
	if _, text := statusOf(t, command.Usagef("that is wrong\nhint: this is right")); text !=
		"cooper: that is wrong\nhint: this is right\n" {
		t.Errorf("it says %q", text)
	}
	if _, text := statusOf(t, command.StatusError(3)); text != "" {
		t.Errorf("of another process's it says %q", text)
	}
	if _, text := statusOf(t, errors.New("a\x1b[2Jb\rc")); strings.ContainsAny(text, "\x1b\r") {
		t.Errorf("it commands a terminal: %q", text)
	}
	if got := (command.Interrupted{Signal: syscall.SIGTERM}).Error(); got != "stopped by SIGTERM" {
		t.Error(got)
	}
}

func TestAPanicIsToBeReportedAndShownInFullIfAsked(t *testing.T) {
	panicked := guard.Call(func() error { panic("odd") })
	t.Setenv("GOTRACEBACK", "")
	if _, text := statusOf(t, panicked); !strings.Contains(text, "please report it") ||
		strings.Contains(text, "goroutine") ||
		!strings.Contains(text, "odd") {
		t.Errorf("it says %q", text)
	}
	t.Setenv("GOTRACEBACK", "all")
	if _, text := statusOf(t, panicked); !strings.Contains(text, "status_test.go") {
		t.Errorf("in full it says %q", text)
	}
}

func TestARuntimeDirectoryOfAnotherUserIsNone(t *testing.T) {
	const name = "XDG_RUNTIME_DIR"
	mine, file := t.TempDir(), filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(mine)
	for dir, kept := range map[string]bool{
		mine: true, file: false, "/no/such": false, ".": false, "": false, filepath.Join(file, "x"): false,
		"/proc/1": os.Getuid() == 0,
	} {
		t.Setenv(name, dir)
		ignoreForeignRuntimeDir()
		if got := os.Getenv(name); (got != "") != kept && dir != "" || got != "" && got != dir {
			t.Errorf("%q is %q afterwards", dir, got)
		}
	}
}

func TestADialectHasItsOwnStatuses(t *testing.T) {
	t.Parallel()
	failed := &build.StepError{ExitCode: 7, Text: "RUN x", Err: errors.New("y")}
	for _, tt := range []struct {
		dialect dialect.Dialect
		err     error
		want    int
		text    string
	}{
		{dialect.Buildah, failed, 7, `Error: building at STEP "RUN x": while running runtime: exit status 7`},
		{dialect.Podman, &build.StepError{Text: "COPY a b", Err: errors.New("y")}, 125,
			`Error: building at STEP "COPY a b": y`},
		{dialect.Buildah, command.Usagef("x"), 125, "Error: x"},
		{dialect.Podman, errors.New("x"), 125, "Error: x"},
		{dialect.Buildah, command.Interrupted{Signal: syscall.SIGINT}, 130, "cooper: stopped by SIGINT"},
		{dialect.Docker, command.Usagef("x"), 125, "cooper: x"},
		{dialect.Docker, errors.New("x"), 1, "cooper: x"},
	} {
		if text, got := statusIn(tt.dialect, tt.err, ownStatus(tt.err)); got != tt.want || text != tt.text {
			t.Errorf("%s, %v: %d, %q", tt.dialect, tt.err, got, text)
		}
	}
}
