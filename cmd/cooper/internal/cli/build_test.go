package cli

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/why"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// storeFlags are those of a store of the test's own.
func storeFlags(t *testing.T) []string {
	t.Helper()
	root := t.TempDir()
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(root, "overlay"), unix.MNT_DETACH) })
	return []string{"--root", root, "--runroot", t.TempDir(), "--storage-driver", "overlay"}
}

func with(command string, flags []string, more ...string) []string {
	return append(append([]string{command}, flags...), more...)
}

func TestAsRootABuildPrintsItsImageAndWritesWhatIsAskedFor(t *testing.T) {
	withoutVariables(t)
	dir, flags := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "x"}), storeFlags(t)
	id, meta := filepath.Join(t.TempDir(), "id"), filepath.Join(t.TempDir(), "meta")
	got := run(t, null(t), with("build", flags, "-q", "-t", "app", "-t", "other:1", "--iidfile", id, "--metadata-file",
		meta, dir)...)
	image := strings.TrimSpace(got.out)
	if got.code != command.ExitOK || !strings.HasPrefix(image, "sha256:") || got.errors != "" {
		t.Fatalf("status %d, %q, %q", got.code, got.out, got.errors)
	}
	if text, err := os.ReadFile(id); string(text) != image || err != nil {
		t.Errorf("the file with the ID has %q, %v", text, err)
	}
	var m map[string]any
	if text, err := os.ReadFile(meta); err != nil || json.Unmarshal(text, &m) != nil ||
		m["containerimage.config.digest"] != image || !strings.Contains(m["image.name"].(string), "localhost/app:latest") ||
		m["cooper.cached"] != 0.0 {
		t.Errorf("the metadata is %s, %v", text, err)
	}
	got = run(t, null(t), with("build", flags, "--progress=plain", "--metadata-file", meta, dir)...)
	if strings.TrimSpace(got.out) != image || !strings.Contains(got.errors, "CACHED") {
		t.Errorf("the second time: %q, %q", got.out, got.errors)
	}
	if got = run(t, null(t), with("build", flags, "-q", "--iidfile", "/no/such/file",
		dir)...); got.code != command.ExitFailed ||
		!strings.HasPrefix(got.errors, "cooper: --iidfile: ") {
		t.Errorf("where no file can be: status %d, %q", got.code, got.errors)
	}
	if got = run(t, null(t), with("build", flags, "-q", "--metadata-file", "/no/such/file",
		dir)...); got.code != command.ExitFailed ||
		!strings.HasPrefix(got.errors, "cooper: --metadata-file: ") {
		t.Errorf("where no file can be: status %d, %q", got.code, got.errors)
	}
	got = run(t, null(t), with("df", flags, "--format=json")...)
	if got.code != command.ExitOK || !strings.Contains(got.out, `"type": "images"`) {
		t.Errorf("df: status %d, %q, %q", got.code, got.out, got.errors)
	}
	got = run(t, null(t), with("df", flags, "-v")...)
	if got.code != command.ExitOK || !strings.HasPrefix(got.out, "TYPE ") ||
		!strings.Contains(got.out, "localhost/app:latest") {
		t.Errorf("df -v: status %d, %q, %q", got.code, got.out, got.errors)
	}
}

func TestAsRootAnArchiveOnStandardOutputStandsAlone(t *testing.T) {
	withoutVariables(t)
	dir, flags := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "text"}), storeFlags(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = read.Close() }()
	errs, err := os.Create(filepath.Join(t.TempDir(), "errors"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errs.Close() }()
	stdout := os.Stdout
	os.Stdout = write // the archive goes to the process's own
	defer func() { os.Stdout = stdout }()
	code := make(chan int, 1)
	go func() {
		code <- Main(command.Env{Args: with("build", flags, "-q", "-o", "type=tar,dest=-", dir), Stdin: null(t),
			Stdout: write,
			Stderr: errs})
		_ = write.Close()
	}()
	var names []string
	for r := tar.NewReader(read); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	rest, err := io.ReadAll(read)
	if got := <-code; got != command.ExitOK || strings.Join(names, " ") != "a" ||
		strings.Trim(string(rest), "\x00") != "" ||
		err != nil {
		t.Errorf("status %d, files %q, and then %q, %v", got, names, rest, err)
	}
}

func TestAsRootAFailedStepIsInTheMetadata(t *testing.T) {
	withoutVariables(t)
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch AS st\n\nCOPY nowhere /\n"})
	meta := filepath.Join(t.TempDir(), "meta")
	got := run(t, null(t), with("build", storeFlags(t), "--metadata-file", meta, dir)...)
	if got.code != command.ExitFailed || got.out != "" || !strings.Contains(got.errors, "Dockerfile:3") ||
		strings.Count(got.errors, "cooper: ") != 1 {
		t.Errorf("status %d, %q, %q", got.code, got.out, got.errors)
	}
	var m struct {
		Error struct {
			Stage, File, Instruction, Message string
			Line                              int
		} `json:"cooper.error"`
	}
	text, err := os.ReadFile(meta)
	if err = errors.Join(err, json.Unmarshal(text, &m)); err != nil || m.Error.Line != 3 ||
		m.Error.Instruction != "COPY nowhere /" ||
		!strings.Contains(m.Error.Message, "nowhere") || !strings.HasSuffix(m.Error.File, "Dockerfile") {
		t.Errorf("the metadata is %s, %v", text, err)
	}
}

// TestAsRootTheMetadataSaysWhyStepsRan as --explain does, of a build that fails, too.
func TestAsRootTheMetadataSaysWhyStepsRan(t *testing.T) {
	withoutVariables(t)
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nWORKDIR /w\nCOPY f /\nCOPY g /\n", "f": "1",
		"g": "1"})
	flags, meta := storeFlags(t), filepath.Join(t.TempDir(), "meta")
	build := func() (reasons string) {
		t.Helper()
		got := run(t, null(t), with("build", flags, "--progress=plain", "--metadata-file", meta, dir)...)
		var m struct {
			Why []why.Step `json:"cooper.why"`
		}
		text, err := os.ReadFile(meta)
		if err = errors.Join(err, json.Unmarshal(text, &m)); err != nil {
			t.Fatal(err)
		}
		for _, s := range m.Why {
			reasons += fmt.Sprintf("%s %s %s, cached %v\n", s.Step, s.Reason.Kind, s.Reason.Name, s.Cached)
		}
		if strings.Contains(got.errors, "WHY") {
			t.Errorf("nobody has asked for it, and it shows %q", got.errors)
		}
		return reasons
	}
	if got := build(); got != "[1/3] never , cached false\n[2/3] never , cached false\n[3/3] never , cached false\n" {
		t.Errorf("of a first build it is %q", got)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "f"), []byte("2"), 0o600),
		os.Remove(filepath.Join(dir, "g"))); err != nil {
		t.Fatal(err)
	}
	if got := build(); !strings.HasPrefix(got, "[1/3] cached , cached true\n[2/3] file f, cached false\n") {
		t.Errorf("of a build that fails it is %q", got)
	}
}

func TestAsRootVariablesStandForFlags(t *testing.T) {
	withoutVariables(t)
	dir, flags := contextDir(t, map[string]string{"Dockerfile": "ARG A\nFROM scratch\nARG A\nENV B=$A\n"}), storeFlags(t)
	t.Setenv("SOURCE_DATE_EPOCH", "1000")
	t.Setenv("A", "from outside")
	one := run(t, null(t), with("build", flags, "-q", "--build-arg", "A", dir)...)
	two := run(t, null(t), with("build", flags, "-q", "--no-cache", "--build-arg", "A=from outside", dir)...)
	if one.code != command.ExitOK || one.out != two.out {
		t.Errorf("%+v, and then %+v", one, two)
	}
	t.Setenv("DOCKER_HOST", "tcp://far")
	if got := run(t, null(t), with("build", flags, "--progress=plain", dir)...); !strings.Contains(got.errors,
		"DOCKER_HOST=tcp://far has no effect") {
		t.Errorf("it says %q", got.errors)
	}
	for name, value := range map[string]string{
		"SOURCE_DATE_EPOCH": "yesterday", "BUILDAH_FORMAT": "rpm", "COOPER_MAX_USED_SPACE": "lots",
		"BUILDKIT_PROGRESS":       "loud",
		"DOCKER_DEFAULT_PLATFORM": "a/b/c/d",
		"COOPER_USERNS":           "nothing",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if got := run(t, null(t), with("build", flags, "-q", dir)...); got.code != command.ExitUsage ||
				!strings.Contains(got.errors, name) {
				t.Errorf("status %d, %q", got.code, got.errors)
			}
		})
	}
}

func TestAsRootPruneShowsAndAsks(t *testing.T) {
	withoutVariables(t)
	dir, flags := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "x"}), storeFlags(t)
	if got := run(t, null(t), with("build", flags, "-q", dir)...); got.code != command.ExitOK {
		t.Fatal(got.errors)
	}
	shown := run(t, null(t), with("prune", flags, "--dry-run", "--all")...)
	if shown.code != command.ExitOK || !strings.HasPrefix(shown.out, "TYPE ") || !strings.Contains(shown.out, "layers") ||
		!strings.Contains(shown.out, "\nTotal that would be reclaimed: ") || strings.Count(shown.out, "\nrecords ") != 1 {
		t.Errorf("status %d, %q, %q", shown.code, shown.out, shown.errors)
	}
	if again := run(t, null(t), with("prune", flags, "--dry-run", "--all")...); again.out != shown.out {
		t.Errorf("after a dry run there is %q", again.out)
	}
	terminal, user := pty(t)
	for answer, code := range map[string]int{"n\n": command.ExitFailed, "\n": command.ExitFailed,
		"yes please\n": command.ExitFailed} {
		if _, err := user.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		got := run(t, terminal, with("prune", flags, "--all")...)
		if got.code != code || !strings.Contains(got.errors, "Are you sure you want to continue? [y/N] ") ||
			!strings.Contains(got.errors, "cooper: nothing was removed") {
			t.Errorf("%q: status %d, %q, %q", answer, got.code, got.out, got.errors)
		}
	}
	if _, err := user.WriteString("Y\n"); err != nil {
		t.Fatal(err)
	}
	if got := run(t, terminal, with("prune", flags, "--all")...); got.code != command.ExitOK ||
		!strings.Contains(got.out, "\nTotal reclaimed space: ") {
		t.Errorf("yes: status %d, %q, %q", got.code, got.out, got.errors)
	}
	if got := run(t, null(t), with("prune", flags, "--all", "--force")...); got.out != "Total reclaimed space: 0B\n" {
		t.Errorf("there was %q left", got.out)
	}
}

// pty is a terminal, and the end that the user sits at.
func pty(t *testing.T) (terminal, user *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.IoctlRetInt(int(user.Fd()), unix.TIOCGPTPEER)
	if err != nil { // the flags are the argument, which this call has no place for
		n, numberErr := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
		if numberErr != nil {
			t.Fatal(err, numberErr)
		}
		terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
	} else {
		terminal = os.NewFile(uintptr(fd), "terminal")
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return terminal, user
}

func TestATerminalIsNoContext(t *testing.T) {
	withoutVariables(t)
	terminal, _ := pty(t)
	for _, verb := range []string{"build", "check"} {
		got := run(t, terminal, verb, "-")
		if got.code != command.ExitUsage ||
			!strings.Contains(got.errors, "the context is to come from standard input, which is a terminal\nhint: ") {
			t.Errorf("%s: status %d, %q", verb, got.code, got.errors)
		}
	}
}

func TestASignalEndsWhatReadsStandardInput(t *testing.T) {
	withoutVariables(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan result, 1)
		go func() { ended <- run(t, read, "check", "-") }()
		// More than a pipe holds: when it is written the program reads, and so waits for signals.
		if _, err := write.WriteString(strings.Repeat("#\n", 1<<16)); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(os.Getpid(), signal); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-ended:
			if got.code != command.ExitSignal+int(signal) ||
				!strings.Contains(got.errors, "stopped by "+unix.SignalName(signal)) {
				t.Errorf("%s: status %d, %q", signal, got.code, got.errors)
			}
		case <-time.After(10 * time.Minute):
			t.Fatalf("%s: after a minute it reads", signal)
		}
		_, _ = read.Close(), write.Close()
	}
}
