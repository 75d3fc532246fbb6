package runstep

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/runtimes"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/executor/emulator"
)

// farArch is an architecture that neither this machine nor its kernel executes by itself.
const farArch = "loong64"

func far() ocispec.Platform { return ocispec.Platform{OS: "linux", Architecture: farArch} }

// pathOf puts a directory with these programs in the place of PATH. Each is a copy of a static one of this machine's.
func pathOf(t *testing.T, programs ...string) string {
	t.Helper()
	dir := t.TempDir()
	if len(programs) > 0 {
		text, err := os.ReadFile("/bin/busybox")
		if err != nil {
			t.Fatal("these tests need a busybox that is linked statically: apt-get install busybox-static")
		}
		for _, name := range programs {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", dir)
	return dir
}

func TestEmulatorsAreOnlyForPlatformsThatNeedOne(t *testing.T) { // it sets PATH
	if emulator.Handled(farArch) {
		t.Fatalf("this machine has an emulator for %s set up: the test needs one that has none", farArch)
	}
	dir := pathOf(t, "qemu-loongarch64-static", "qemu-s390x-static", "qemu-x86_64-static", "qemu-aarch64-static")
	var e emulation
	if found := e.find(MachinePlatform()); found != nil {
		t.Errorf("for this machine's own programs: %v", found)
	}
	if found := e.find(ocispec.Platform{OS: "linux", Architecture: "vax"}); found != nil {
		t.Errorf("for a machine that nothing emulates: %v", found)
	}
	found := e.find(far())
	archs := map[string]string{}
	for _, f := range found {
		archs[f.Arch] = f.Path
	}
	// The step's own list replaces the machine's, so that it has more than the one that is needed.
	if archs[farArch] != filepath.Join(dir, "qemu-loongarch64-static") || archs["s390x"] == "" ||
		archs[MachinePlatform().Architecture] != "" {
		t.Errorf("it finds %v", archs)
	}
	// What the machine has is looked for once.
	if err := os.Remove(filepath.Join(dir, "qemu-s390x-static")); err != nil {
		t.Fatal(err)
	}
	if again := e.find(far()); len(again) != len(found) {
		t.Errorf("the second time it finds %v", again)
	}
	pathOf(t, "qemu-s390x-static")
	if found := new(emulation).find(far()); found != nil {
		t.Errorf("without the one that is needed: %v", found)
	}
}

func TestAnEmulatorThatIsNotAProgramIsNone(t *testing.T) { // it sets PATH
	dir := pathOf(t)
	script := filepath.Join(dir, "qemu-loongarch64-static")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if found := new(emulation).find(far()); found != nil {
		t.Errorf("it finds %v", found)
	}
}

func TestWhatAStepForAnotherPlatformLacksIsExplained(t *testing.T) { // it sets PATH
	noExec := fmt.Errorf("execute /bin/sh: %w", unix.ENOEXEC)
	vax := ocispec.Platform{OS: "linux", Architecture: "vax"}
	register := func(why error) error { return fmt.Errorf("%w: %w", emulator.ErrRegister, why) }
	for name, tt := range map[string]struct {
		err      error
		platform ocispec.Platform
		programs []string
		machine  bool
		want     string
	}{
		"this machine's": {noExec, MachinePlatform(), nil, false, "execute /bin/sh: exec format error"},
		"another error":  {unix.ENOENT, far(), nil, false, "no such file or directory"},
		"nothing emulates it": {noExec, vax, nil, true,
			"hint: there is no emulator for it; build it in a stage FROM --platform=$BUILDPLATFORM"},
		"no emulator": {noExec, far(), nil, true,
			"there is no qemu-loongarch64-static in PATH\nhint: install qemu-user-static"},
		"an emulator, but no program for it": {noExec, far(), []string{"qemu-loongarch64-static"}, false,
			"hint: the image is for linux/loong64: is the program?"},
		"the runtime can't": {register(errors.ErrUnsupported), far(), nil, true, "hint: --isolation=native registers them"},
		"no module":         {register(unix.ENODEV), far(), nil, true, "modprobe binfmt_misc"},
		"an old kernel":     {register(unix.EPERM), far(), nil, true, "hint: before Linux 6.7"},
		"an older kernel":   {register(unix.EINVAL), far(), nil, true, "hint: before Linux 6.7"},
		"anything else": {register(unix.EIO), far(), nil, true,
			"hint: as root of the machine, systemctl restart systemd-binfmt"},
	} {
		pathOf(t, tt.programs...)
		err := new(emulation).explain(tt.err, tt.platform)
		if !strings.Contains(err.Error(), tt.want) || errors.Is(err, store.ErrMachine) != tt.machine {
			t.Errorf("%s: %v", name, err)
		}
		if tt.machine && !strings.Contains(err.Error(), "RUN needs to execute linux/"+tt.platform.Architecture+" programs") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARuntimeThatIsNotInstalledIsTheMachinesFault(t *testing.T) { // it sets PATH
	dir := pathOf(t)
	for name, wanted := range map[string]string{"": "crun", "crun": "crun", "runc": "runc"} {
		_, err := runtimes.FindRuntime(t.Context(), name)
		if !errors.Is(err, store.ErrMachine) || !strings.Contains(err.Error(), "apt-get install "+wanted+";") {
			t.Errorf("%q: %v", name, err)
		}
	}
	program := filepath.Join(dir, "crun")
	for text, want := range map[string]string{
		"echo crun version 1.8": "", "echo hello": "--version doesn't say so", "exit 3": "exit status 3",
	} {
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"", "crun", program} {
			r, err := runtimes.FindRuntime(t.Context(), name)
			if want == "" && (err != nil || r.Path != program || r.Name != "crun") {
				t.Errorf("%s, %q: %+v, %v", text, name, r, err)
			}
			if want != "" && (err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, store.ErrMachine)) {
				t.Errorf("%s, %q: %v", text, name, err)
			}
		}
	}
	if _, err := runtimes.FindRuntime(t.Context(), "./none"); err == nil {
		t.Error("a path that isn't there is found")
	}
}
