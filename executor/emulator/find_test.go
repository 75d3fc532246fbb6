package emulator_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/executor/emulator"
)

// debianArm64 is a handler as the kernel lists it.
const debianArm64 = `enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
`

func TestHandlersOfTheMachineAreRecognised(t *testing.T) {
	for name, test := range map[string]struct {
		status, handler string
		arch            string
		want            bool
	}{
		"handled":              {"enabled\n", debianArm64, "arm64", true},
		"another architecture": {"enabled\n", debianArm64, "riscv64", false},
		"unknown architecture": {"enabled\n", debianArm64, "pdp11", false},
		"all disabled":         {"disabled\n", debianArm64, "arm64", false},
		"this one disabled":    {"enabled\n", strings.Replace(debianArm64, "enabled", "disabled", 1), "arm64", false},
		"interpreter by path":  {"enabled\n", strings.Replace(debianArm64, "POF", "PO", 1), "arm64", false},
		"without mask":         {"enabled\n", strings.Replace(debianArm64, "mask", "x", 1), "arm64", true},
		"at another offset":    {"enabled\n", strings.Replace(debianArm64, "offset 0", "offset 9", 1), "arm64", false},
		"offset nonsense":      {"enabled\n", strings.Replace(debianArm64, "offset 0", "offset x", 1), "arm64", false},
		"by extension": {"enabled\n", "enabled\ninterpreter /usr/bin/java\nflags: F\nextension .jar\n", "arm64",
			false},
		"empty": {"enabled\n", "", "arm64", false},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"status": test.status, "register": "", "qemu-aarch64": test.handler} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := emulator.HandledIn(dir, test.arch); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if emulator.HandledIn(t.TempDir(), "arm64") {
		t.Error("a list that isn't mounted handles arm64")
	}
}

func TestTheFamilysOlderProgramsRunIfTheProcessorCan(t *testing.T) {
	if !emulator.Executes(runtime.GOARCH) {
		t.Error("the machine's own programs don't run")
	}
	for _, arch := range []string{"s390x", "riscv64", "pdp11", ""} {
		if emulator.Executes(arch) {
			t.Errorf("%s runs", arch)
		}
	}
}

func TestTheProbesAreProgramsThatEndWell(t *testing.T) {
	for arch, probe := range emulator.Probes() {
		path := filepath.Join(t.TempDir(), "probe")
		if err := os.WriteFile(path, probe, 0o755); err != nil {
			t.Fatal(err)
		}
		qemu, ok := emulator.Find(arch)
		if !ok {
			t.Fatalf("the tests need qemu for %s", arch)
		}
		if out, err := exec.Command(qemu.Path, path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", arch, err, out)
		}
	}
}

func TestOnlyStaticEmulatorsAreFound(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if _, ok := emulator.Find("riscv64"); ok {
		t.Error("found in an empty directory")
	}
	put := func(from, name string) {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put("/bin/ls", "qemu-riscv64-static") // dynamically linked
	if e, ok := emulator.Find("riscv64"); ok {
		t.Errorf("found %+v, which needs libraries", e)
	}
	put("/bin/busybox", "qemu-riscv64")
	if e, ok := emulator.Find("riscv64"); !ok || e.Path != filepath.Join(dir, "qemu-riscv64") {
		t.Errorf("found %+v", e)
	}
	if _, ok := emulator.Find("wasm"); ok {
		t.Error("found an emulator for wasm")
	}
}
