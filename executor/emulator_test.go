package executor_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/emulator"
)

// foreignEnv names the directory with the programs for other architectures that all runs of the tests share.
const foreignEnv = "EXECUTOR_TEST_FOREIGN"

// foreignDir makes that directory, which everybody may read, for the processes of all runs.
func foreignDir() (remove func() error, err error) {
	dir, err := os.MkdirTemp("", "foreign")
	if err != nil {
		return nil, err
	}
	return func() error { return os.RemoveAll(dir) },
		errors.Join(os.Chmod(dir, 0o755), os.Setenv(foreignEnv, dir))
}

// foreign puts a program for another architecture into the box's layer. The first that asks for it compiles it.
func (b *box) foreign(arch string) {
	b.t.Helper()
	program := filepath.Join(os.Getenv(foreignEnv), arch)
	if _, err := os.Stat(program); err != nil {
		cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "../tests/testdata/foreign")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
		if text, err := cmd.CombinedOutput(); err != nil {
			b.t.Fatalf("go build for %s: %v\n%s", arch, err, text)
		}
	}
	text, err := os.ReadFile(program)
	b.must(err)
	b.must(os.WriteFile(b.path("layer/foreign"), text, 0o755))
}

func emulatorOf(t *testing.T, arch string) emulator.Emulator {
	t.Helper()
	e, ok := emulator.Find(arch)
	if !ok {
		t.Fatalf("no static emulator for %s in PATH: install qemu-user-static", arch)
	}
	return e
}

// emulated is a step with the emulators, in a user namespace other than the machine's.
func (b *box) emulated(t *testing.T, args ...string) executor.Step {
	s := b.step(args...)
	s.Runtime = nil // they have no emulators
	s.Emulators = []emulator.Emulator{emulatorOf(t, "arm64"), emulatorOf(t, "s390x"), emulatorOf(t, "riscv64")}
	if !inside() {
		s.Mapping = testMapping(t)
	}
	return s
}

func TestEmulatorsExecuteForeignPrograms(t *testing.T) {
	b := newBox(t)
	for _, arch := range []string{"s390x", "riscv64"} {
		b.foreign(arch)
		if got := b.output(b.emulated(t, "/foreign", "again", "/foreign", "arch")); got != "linux/"+arch+"\n" {
			t.Errorf("%s: %s", arch, got)
		}
	}
	arch := "arm64"
	if runtime.GOARCH == arch {
		arch = "riscv64"
	}
	b.foreign(arch)
	// One process does as much as can be asked of one: for an emulator, to start is most of the work.
	all := "arch && echo two words && self && listen && unshare && id && write /new text && cat /new && " +
		"/bin/busybox echo native && /bin/busybox readlink /proc/self/exe && /bin/busybox sh -c /foreign && again arch"
	wanted := "linux/" + arch + "\ntwo words\n/foreign\noperation not permitted\n0 0 0\ntext\n" +
		"native\n/bin/busybox\n" + arch + " /foreign\nlinux/" + arch
	for script, want := range map[string]string{"": arch + " named", all: wanted} {
		// argv[0] is the program's own affair.
		s := b.emulated(t, "/bin/busybox", "sh", "-c", `exec -a named /foreign "$@"`, "sh", "-c", script)
		if script == "" {
			s.Args = s.Args[:5]
		}
		if got := b.output(s); strings.TrimSpace(got) != want {
			t.Errorf("%q: %s\nwant %s", script, got, want)
		}
	}
	if _, status, err := b.run(b.emulated(t, "/foreign", "exit", "42")); err != nil || status.ExitCode != 42 {
		t.Errorf("%+v %v", status, err)
	}
}

func TestEmulationKeepsUsersAndSetUserID(t *testing.T) {
	b := newBox(t)
	b.foreign("s390x")
	s := b.emulated(t, "/foreign", "id")
	s.User = "alice"
	if got := b.output(s); got != "1000 1000 1001\n" {
		t.Errorf("alice: %s", got)
	}
	b.must(os.Chmod(b.path("layer/foreign"), 0o755|os.ModeSetuid))
	if got := b.output(s); got != "1000 0 1001\n" {
		t.Errorf("set-user-ID: %s", got)
	}
	b.must(os.Chmod(b.path("layer/foreign"), 0o111)) // executable, but not readable
	if got := b.output(s); got != "1000 1000 1001\n" {
		t.Errorf("unreadable: %s", got)
	}
}

func TestEmulatorsAreKnownInTheStepOnly(t *testing.T) {
	b := newBox(t)
	b.foreign("s390x")
	b.output(b.emulated(t, "/foreign", "arch"))
	if err := exec.Command(b.path("layer/foreign")).Run(); !errors.Is(err, unix.ENOEXEC) {
		t.Errorf("the machine executes foreign programs now: %v", err)
	}
	checkNoFormat(t, b, b.step("/foreign", "arch"))
}

func TestEmulationWithoutMappingKeepsTheCallersIDs(t *testing.T) {
	b := newBox(t)
	b.foreign("s390x")
	s := b.step("/bin/sh", "-c",
		"cat /proc/self/uid_map; chown 7:8 /etc/passwd; /foreign write /new text; su alice -c '/foreign id'")
	s.Runtime, s.Emulators = nil, []emulator.Emulator{emulatorOf(t, "s390x")}
	got := strings.Join(strings.Fields(b.output(s)), " ")
	if !strings.HasPrefix(got, "0 0 ") || !strings.HasSuffix(got, " 1000 1000 1001") {
		t.Error(got)
	}
	checkOwner(t, b.path("upper/etc/passwd"), 7, 8)
	checkOwner(t, b.path("upper/new"), 0, 0)
}

func checkNoFormat(t *testing.T, b *box, s executor.Step) {
	t.Helper()
	var failed *executor.StartError
	if _, _, err := b.run(s); !errors.As(err, &failed) || !errors.Is(err, unix.ENOEXEC) {
		t.Errorf("without an emulator: %v", err)
	}
}

func TestManyStepsShareANamespaceWithEmulators(t *testing.T) {
	b := newBox(t)
	b.foreign("s390x")
	results := make(chan error)
	steps, rounds := 8, 3
	if testing.Short() {
		steps, rounds = 4, 2
	}
	for i := range steps {
		c := &box{t, filepath.Join(b.base, "step", string(rune('a'+i)))}
		s := c.step("/foreign", "arch")
		s.Rootfs.Lower = []*os.File{b.open("layer")}
		s.Runtime, s.Emulators = nil, []emulator.Emulator{emulatorOf(t, "s390x")}
		if !inside() {
			s.Mapping = testMapping(t)
		}
		go func() {
			for range rounds {
				if _, status, err := c.run(s); err != nil || status.ExitCode != 0 {
					results <- errors.Join(errors.New("step failed"), err)
					return
				}
			}
			results <- nil
		}()
	}
	for range steps {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func TestUnknownEmulatorsAreErrors(t *testing.T) {
	b := newBox(t)
	for _, e := range []emulator.Emulator{{Arch: "pdp11", Path: "/bin/true"}, {Arch: "s390x", Path: "/nowhere/qemu"}} {
		s := b.emulated(t, "/bin/true")
		s.Emulators = []emulator.Emulator{e}
		if _, _, err := b.run(s); !errors.Is(err, emulator.ErrRegister) {
			t.Errorf("%+v: %v", e, err)
		}
	}
}

func TestTheFamilysOlderProgramsRunInStepsIfTheProcessorCan(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		return
	}
	b := newBox(t)
	b.foreign("386")
	s := b.step("/foreign", "again", "arch")
	if emulator.Executes("386") {
		if got := b.output(s); got != "linux/386\n" {
			t.Error(got)
		}
		return
	}
	checkNoFormat(t, b, s) // a kernel can be told to refuse them
}
