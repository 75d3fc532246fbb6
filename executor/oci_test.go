package executor_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/emulator"
	"github.com/cooperbuild/cooper/executor/joined"
)

func TestRuntimesRefuseEmulators(t *testing.T) {
	if backEnd() == nil {
		return // the native back end has them
	}
	b := newBox(t)
	s := b.step("/bin/true")
	s.Emulators = []emulator.Emulator{{Arch: "s390x", Path: "/bin/true"}}
	if _, _, err := b.run(s); !errors.Is(err, emulator.ErrRegister) {
		t.Errorf("%v", err)
	}
}

func TestKeptBundleShowsTheStepWithoutItsSecrets(t *testing.T) {
	if backEnd() == nil {
		return // has no bundle
	}
	b := newBox(t)
	s := b.step("/bin/sh", "-c", "echo $TOKEN; cat /secret")
	s.Env, s.SecretEnv = []string{"TOKEN=hush", "PLAIN=shown"}, []string{"TOKEN"}
	s.Files = []executor.File{{Path: "/secret", Data: []byte("quiet\n")}}
	s.KeepBundle = b.path("kept/7")
	s.Hostname = "box"
	if got := b.output(s); got != "hush\nquiet\n" {
		t.Errorf("%q", got)
	}
	data, err := os.ReadFile(b.path("kept/7/config.json"))
	b.must(err)
	var config specs.Spec
	b.must(json.Unmarshal(data, &config))
	if config.Hostname != "box" || config.Process.Args[2] != "echo $TOKEN; cat /secret" ||
		!strings.Contains(string(data), "PLAIN=shown") {
		t.Errorf("%s", data)
	}
	command, err := os.ReadFile(b.path("kept/7/command"))
	b.must(err)
	if !strings.Contains(string(command), " run --bundle ") {
		t.Errorf("%s", command)
	}
	for _, secret := range []string{"hush", "quiet"} {
		if strings.Contains(string(data)+string(command), secret) {
			t.Errorf("%s is in the kept bundle", secret)
		}
	}
	b.checkUpper()
}

func TestKeptBundleShowsTheNamespaceThatIsJoined(t *testing.T) {
	if backEnd() == nil {
		return // has no bundle
	}
	b := newBox(t)
	path, _ := held(t, true)
	ns, err := joined.Open(path)
	b.must(err)
	s := b.joining(ns, "true")
	s.KeepBundle = b.path("kept")
	b.output(s)
	data, err := os.ReadFile(b.path("kept/config.json"))
	b.must(err)
	var config specs.Spec
	b.must(json.Unmarshal(data, &config))
	want := []specs.LinuxIDMapping{{ContainerID: 3000, HostID: 4000, Size: 2000},
		{ContainerID: 0, HostID: 1000, Size: 3000}}
	if !slices.Equal(config.Linux.UIDMappings, want) || !slices.Equal(config.Linux.GIDMappings, want) {
		t.Errorf("maps %v, %v", config.Linux.UIDMappings, config.Linux.GIDMappings)
	}
	if !slices.Contains(config.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/mnt/userns"}) {
		t.Errorf("namespaces %v", config.Linux.Namespaces)
	}
	b.must(ns.Close())
}

func TestRuntimesLeaveNothingInControlGroups(t *testing.T) {
	b := newBox(t)
	before := cgroups(t)
	b.output(b.step("/bin/true"))
	if after := cgroups(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// cgroups lists what a runtime might have named after its container.
func cgroups(t *testing.T) string {
	t.Helper()
	var found []string
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory",
		"/sys/fs/cgroup/systemd"} {
		for _, name := range []string{"step", "libpod-step", "crun-step.scope"} {
			if _, err := os.Stat(dir + "/" + name); err == nil {
				found = append(found, dir+"/"+name)
			}
		}
	}
	return strings.Join(found, "\n")
}

func TestLogOfARuntimeIsAFile(t *testing.T) {
	if backEnd() == nil {
		return // has no log
	}
	b := newBox(t)
	for name, make := range map[string]string{"pipe": "mkfifo log", "link": "ln -s /proc/1/environ log",
		"directory": "mkdir log"} {
		b.write(name, "#!/bin/sh\n"+make+"\n")
		b.must(os.Chmod(b.path(name), 0o755))
		s := b.step("/bin/true")
		s.Runtime = &executor.Runtime{Path: b.path(name), Name: "fake"}
		if _, _, err := b.run(s); err == nil || !strings.Contains(err.Error(), "read the runtime's log: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeptBundleFollowsNoLink(t *testing.T) {
	if backEnd() == nil {
		return // has no bundle
	}
	b := newBox(t)
	s := b.step("/bin/true")
	s.KeepBundle = b.path("kept/1")
	b.dir("kept")
	b.must(os.Symlink(b.dir("elsewhere").Name(), b.path("kept/1")))
	if _, _, err := b.run(s); !errors.Is(err, os.ErrExist) {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(b.path("elsewhere")); err != nil || len(entries) > 0 {
		t.Errorf("written through a link: %v, %v", entries, err)
	}
}

func TestRuntimesAreFound(t *testing.T) {
	b := newBox(t)
	b.write("plain", "x")
	for script, text := range map[string]string{
		"fake": "#!/bin/sh\necho fake version 1.0\n", "endless": "#!/bin/sh\nexec cat /dev/zero\n",
		"slow":    "#!/bin/sh\nexec sleep 1000\n",
		"waiting": "#!/bin/sh\nsleep 1000\n", "leaving": "#!/bin/sh\nsleep 1000 &\necho fake version 1.0\n",
		"other": "#!/bin/sh\necho hello\n", "failing": "#!/bin/sh\nexit 3\n",
	} {
		b.write(script, text)
		b.must(os.Chmod(b.path(script), 0o755))
	}
	for _, name := range []string{"fake", "leaving"} {
		r, err := executor.FindRuntime(context.Background(), b.path(name))
		if err != nil || r != (executor.Runtime{Path: b.path(name), Name: "fake"}) {
			t.Errorf("%s: %+v %v", name, r, err)
		}
	}
	for _, name := range []string{"endless", "slow", "waiting"} {
		late, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		if _, err := executor.FindRuntime(late, b.path(name)); !errors.Is(err, context.DeadlineExceeded) ||
			!errors.Is(err, executor.ErrNotRuntime) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	for name, want := range map[string]error{
		b.path("other"): executor.ErrNotRuntime, b.path("failing"): executor.ErrNotRuntime,
		b.path("plain"): executor.ErrNotRuntime,
		b.base:          executor.ErrNotRuntime, b.path("nowhere"): unix.ENOENT,
	} {
		if _, err := executor.FindRuntime(context.Background(), name); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Setenv("PATH", b.path("nowhere"))
	for _, name := range []string{"", "crun"} {
		if _, err := executor.FindRuntime(context.Background(), name); !errors.Is(err, executor.ErrNoRuntime) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
