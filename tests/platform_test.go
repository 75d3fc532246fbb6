package tests_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// foreignPrograms are the builds of testdata/foreign, each made once.
var foreignPrograms sync.Map

// foreignProgram gives the path of the program for an architecture.
func foreignProgram(arch string) (string, error) {
	build, _ := foreignPrograms.LoadOrStore(arch, sync.OnceValues(func() (string, error) {
		path := filepath.Join(suite.dir, "foreign-"+arch)
		cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", path, "./testdata/foreign")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build for %s: %w\n%s", arch, err, out)
		}
		return path, os.Chmod(path, 0o755)
	}))
	return build.(func() (string, error))() //nolint:forcetypeassert // nothing else is stored
}

func scriptForeign(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: foreign ARCH FILE")
	}
	ts.Check(copyForeign(args[0], ts.MkAbs(args[1])))
}

func copyForeign(arch, to string) error {
	program, err := foreignProgram(arch)
	if err != nil {
		return err
	}
	return copyProgram(program, to)
}

const archfile = `FROM scratch
ARG TARGETARCH
COPY prog-$TARGETARCH /prog
RUN ["/prog", "-c", "arch && writearch /arch"]
`

const hostHandlers = "/proc/sys/fs/binfmt_misc"

// TestAsRootEmulatorsOfTheMachineAreUsed registers an emulator with the machine, as its package does, and hides it from
// cooper. The tests of the executor, which may run meanwhile, are about other architectures.
func TestAsRootEmulatorsOfTheMachineAreUsed(t *testing.T) {
	const arch, name = "ppc64le", "qemu-ppc64le"
	registerWithMachine(t, name)
	for _, m := range suite.modes {
		s := newSite(t, m)
		s.withoutEmulators(t)
		s.write(t, "ctx/Containerfile", archfile)
		if err := copyForeign(arch, s.path("ctx/prog-"+arch)); err != nil {
			t.Fatal(err)
		}
		if r := s.cooper(t, "build", "--platform=linux/"+arch, "ctx"); r.Code != 0 ||
			!strings.Contains(r.Stderr, "linux/"+arch) {
			t.Errorf("%s: status %d\n%s", m.Name, r.Code, r.Stderr)
		}
	}
}

// registerWithMachine makes the machine hand programs for ppc64le to qemu until the test ends. A registration that is
// there already is used as it is and stays.
func registerWithMachine(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(hostHandlers, "status")); err != nil {
		if err := syscall.Mount("binfmt_misc", hostHandlers, "binfmt_misc", 0, ""); err != nil {
			t.Fatalf("mount binfmt_misc: %v", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(hostHandlers, 0); err != nil {
				t.Error(err)
			}
		})
	}
	entry := filepath.Join(hostHandlers, name)
	if _, err := os.Stat(entry); err == nil {
		return
	}
	qemu, err := exec.LookPath("qemu-ppc64le-static")
	if err != nil {
		t.Fatal(err)
	}
	line := ":" + name + `:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15\x00` +
		`:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\x00:` + qemu + ":F"
	if err := os.WriteFile(filepath.Join(hostHandlers, "register"), []byte(line), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(entry, []byte("-1"), 0); err != nil {
			t.Error(err)
		}
	})
}

// withoutEmulators gives the site a PATH with no more than cooper needs.
func (s *site) withoutEmulators(t *testing.T) {
	t.Helper()
	s.mkdir(t, "bin")
	for _, p := range []string{"newuidmap", "newgidmap"} {
		path, err := exec.LookPath(p)
		if err == nil {
			err = os.Symlink(path, s.path("bin/"+p))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, v := range s.env {
		if strings.HasPrefix(v, "PATH=") {
			s.env[i] = "PATH=" + s.path("bin")
		}
	}
}

// TestMissingEmulatorIsNamed builds for an architecture that neither the machine nor PATH has an emulator for.
func TestMissingEmulatorIsNamed(t *testing.T) {
	archs := []string{"riscv64", "s390x", "ppc64le", "mips64le", "loong64"}
	free := slices.IndexFunc(archs, func(arch string) bool {
		_, err := os.Stat(filepath.Join(hostHandlers, "qemu-"+arch))
		return err != nil && arch != runtime.GOARCH
	})
	if free < 0 {
		t.Fatalf("this machine executes programs for all of %q: take the registration of one away", archs)
	}
	arch := archs[free]
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.withoutEmulators(t)
		s.write(t, "ctx/Containerfile", archfile)
		if err := copyForeign(arch, s.path("ctx/prog-"+arch)); err != nil {
			t.Fatal(err)
		}
		r := s.cooper(t, "build", "--platform=linux/"+arch, "ctx")
		for _, want := range []string{
			"Containerfile:4: RUN", "RUN needs to execute linux/riscv64 programs, and this machine is linux/" + runtime.GOARCH,
			"there is no qemu-riscv64-static in PATH", "apt-get install qemu-user-static",
		} {
			if !strings.Contains(r.Stderr, want) {
				t.Errorf("the error doesn't say %q:\n%s", want, r.Stderr)
			}
		}
		if r.Code != 125 {
			t.Errorf("status %d", r.Code)
		}
	})
}

// TestNothingIsRegisteredWithTheMachine looks at what a build that uses emulators leaves.
func TestNothingIsRegisteredWithTheMachine(t *testing.T) {
	before := machineHandlers(t)
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "ctx/Containerfile", archfile)
		if err := copyForeign("s390x", s.path("ctx/prog-s390x")); err != nil {
			t.Fatal(err)
		}
		s.build(t, "--platform=linux/s390x", "ctx")
		if after := machineHandlers(t); after != before {
			t.Errorf("before: %s\nafter: %s", before, after)
		}
		if before != "" {
			return
		}
		if err := exec.Command(s.path("ctx/prog-s390x")).Run(); !errors.Is(err, syscall.ENOEXEC) {
			t.Errorf("the machine executes foreign programs: %v", err)
		}
	})
}

func machineHandlers(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(hostHandlers)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
