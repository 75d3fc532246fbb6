package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns/reexec"
)

func fakeRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSurroundingsAreReadFromTheMachinesFiles(t *testing.T) {
	const v2 = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	const v1 = "31 25 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
	for _, test := range []struct {
		name  string
		files map[string]string
		want  Surroundings
	}{
		{"nothing at all", nil, Surroundings{}},
		{"docker", map[string]string{".dockerenv": ""}, Surroundings{Container: "docker"}},
		{"podman", map[string]string{"run/.containerenv": "", ".dockerenv": ""}, Surroundings{Container: "podman"}},
		{"pod", map[string]string{"var/run/secrets/kubernetes.io/token": "", ".dockerenv": ""},
			Surroundings{Container: "kubernetes pod"}},
		{"lxc", map[string]string{"proc/1/environ": "A=b\x00container=lxc\x00"}, Surroundings{Container: "lxc"}},
		{"nspawn", map[string]string{"run/systemd/container": "systemd-nspawn\n"}, Surroundings{Container: "systemd-nspawn"}},
		{"AppArmor", map[string]string{"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"},
			Surroundings{AppArmor: true}},
		{"limit", map[string]string{"proc/sys/user/max_user_namespaces": "0\n"}, Surroundings{UserNamespaces: "0"}},
		{"no_new_privs", map[string]string{"proc/self/status": "Name:\tx\nNoNewPrivs:\t1\n"},
			Surroundings{NoNewPrivileges: true}},
		{"v1", map[string]string{"proc/self/mountinfo": v1}, Surroundings{Cgroup: "v1"}},
		{"hybrid", map[string]string{"proc/self/mountinfo": v1 + v2}, Surroundings{Cgroup: "hybrid"}},
		{"v2, group gone", map[string]string{"proc/self/mountinfo": v2, "proc/self/cgroup": "0::/user/x\n"},
			Surroundings{Cgroup: "v2"}},
		{"v2", map[string]string{"proc/self/mountinfo": v2, "proc/self/cgroup": "0::/user/x\n",
			"sys/fs/cgroup/user/x/cgroup.procs": ""},
			Surroundings{Cgroup: "v2", CgroupWritable: true}},
		{"nonsense", map[string]string{"proc/self/mountinfo": "x - \n\n - - -\n", "proc/self/status": ":::"}, Surroundings{}},
	} {
		if got := surroundings(fakeRoot(t, test.files)); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestErrorsBecomeAProblemAndAFix(t *testing.T) {
	for _, test := range []struct {
		err  error
		want Outcome
	}{
		{nil, Outcome{Tried: true}},
		{errors.New("open store: denied\nhint: choose\nanother"), Outcome{true, "open store: denied", "choose another"}},
		{fmt.Errorf("a; b: %w", unix.EPERM), Outcome{true, "a; b: operation not permitted", ""}},
		{fmt.Errorf("x: %w", &reexec.MachineError{Problem: "p", Remedy: "r"}), Outcome{true, "p", "r"}},
	} {
		if got := outcome(test.err); got != test.want {
			t.Errorf("%v is %+v, want %+v", test.err, got, test.want)
		}
	}
	if got := said("cooper: it is off; switch it on\n"); got != (Outcome{true, "it is off", "switch it on"}) {
		t.Errorf("said %+v", got)
	}
	if got := said(""); got.OK() {
		t.Errorf("silence is %+v", got)
	}
}

func TestMissingFuseDeviceHasAFix(t *testing.T) {
	f := lookForFuse(filepath.Join(t.TempDir(), "fuse"))
	if f.Device.OK() || f.Device.Fix == "" {
		t.Errorf("a device that isn't there is %+v", f.Device)
	}
}

func TestNearestDirectory(t *testing.T) {
	dir := fakeRoot(t, map[string]string{"a/file": ""})
	for name, want := range map[string]string{"a": "a", "a/b/c": "a", "a/file/x": "a", "a/file": "a"} {
		if got := nearest(filepath.Join(dir, name)); got != filepath.Join(dir, want) {
			t.Errorf("nearest to %s is %s", name, got)
		}
	}
}
