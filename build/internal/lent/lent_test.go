package lent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/executor"
)

func TestNamespacesAreTheStepsOwnTheHostsOrAtAPath(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "private": "", "container": "", "host": "host", "/proc/1/ns/ipc": "/proc/1/ns/ipc",
		"ns:/proc/1/ns/ipc": "/proc/1/ns/ipc",
		"relative/path":     "refused", "ns:": "refused", "ns:host": "refused", "Host": "refused", "container:x": "refused",
	} {
		got := "as it was"
		var o Options
		switch err := o.SetNamespace("--ipc", text, &got); {
		case want != "refused" && (err != nil || got != want):
			t.Errorf("%q is %q, %v", text, got, err)
		case want == "refused" && (err == nil || got != "as it was" || !strings.Contains(err.Error(), "--ipc="+text)):
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestDevicesThatCanHaveNoSuchNameAreRefused(t *testing.T) {
	t.Parallel()
	if err := (Options{Devices: []string{"/dev/null", "vendor.example/gpu=all"}}).Check(); err != nil {
		t.Error(err)
	}
	if err := (Options{Devices: []string{"/dev/null", "gpu"}}).Check(); err == nil ||
		!strings.HasPrefix(err.Error(), "--device: ") {
		t.Errorf("error %v", err)
	}
}

// TestAKeyTellsAllThatAStepCanSee compares the keys of options that differ in one thing.
func TestAKeyTellsAllThatAStepCanSee(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, o := range map[string]Options{
		"nothing": {}, "a host name": {Hostname: "a"}, "another host name": {Hostname: "b"},
		"no hosts": {Hosts: executor.Hosts{None: true}}, "hosts": {Hosts: executor.Hosts{From: "/hosts"}},
		"groups": {AddGroups: []string{"7"}}, "more groups": {AddGroups: []string{"7", "8"}},
		"the caller's groups": {KeepGroups: true}, "hooks": {HookDirs: []string{"/hooks"}},
		"a device": {Devices: []string{"/dev/null"}}, "ipc": {IPC: "host"}, "uts": {UTS: "host"},
		"control groups": {ControlGroups: "host"}, "processes": {ShowProcesses: true},
	} {
		key := keyOf(o)
		if other, is := seen[key]; is {
			t.Errorf("%s and %s have the same key", name, other)
		}
		seen[key] = name
	}
	// What a Dockerfile may ask for is seen where it asks.
	if keyOf(Options{AllowAllDevices: true, AllowDevices: []string{"/dev/null"}, DeviceDirs: []string{"/d"}}) !=
		keyOf(Options{}) {
		t.Error("what no step has got is in the key")
	}
}

func keyOf(o Options) string {
	k := cache.NewKey("")
	o.AddTo(k)
	return string(k.Key())
}

func TestAStepIsLentNamespacesUntilTheyAreReleased(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var s executor.Step
	s.AddGroups = []string{"1"}
	release, err := Options{IPC: path, UTS: "host", Hostname: "ours", AddGroups: []string{"2"}}.Give(t.Context(), &s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Shared.IPC.File == nil || !s.Shared.UTS.Host || !s.Shared.ControlGroups.IsOwn() {
		t.Errorf("%+v", s.Shared)
	}
	if s.Hostname != "" { // it would be the host's
		t.Errorf("the host name is %q", s.Hostname)
	}
	if got := strings.Join(s.AddGroups, " "); got != "1 2" {
		t.Errorf("groups %s", got)
	}
	file := s.Shared.IPC.File
	if err := release(); err != nil {
		t.Error(err)
	}
	if _, err := file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the namespace stays open: %v", err)
	}
}

func TestANamespaceThatIsNotThereIsToldAndTheOthersAreReleased(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var s executor.Step
	release, err := Options{IPC: path, UTS: path + "s"}.Give(t.Context(), &s, nil)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path+"s") {
		t.Errorf("error %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if _, err := s.Shared.IPC.File.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the other namespace stays open: %v", err)
	}
}

func TestADeviceThatIsNotThereEndsTheStepBeforeItBegins(t *testing.T) {
	t.Parallel()
	var s executor.Step
	missing := filepath.Join(t.TempDir(), "gpu")
	release, err := Options{Devices: []string{missing}}.Give(t.Context(), &s, nil)
	if err == nil || !strings.Contains(err.Error(), missing) || len(s.Mounts) > 0 {
		t.Errorf("%v, mounts %v", err, s.Mounts)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}
