package executor_test

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAsRootAStepSeesItsControlGroupOnlyIfItSeesNoOther runs steps in groups of its own making, with what the test
// mounts at /sys/fs/cgroup, so that it tests the same on machines with groups of both versions.
func TestAsRootAStepSeesItsControlGroupOnlyIfItSeesNoOther(t *testing.T) {
	b := newBox(t)
	top := b.dir("cgroup").Name()
	b.must(unix.Mount("cgroup2", top, "cgroup2", 0, ""))
	t.Cleanup(func() { b.must(unix.Unmount(top, unix.MNT_DETACH)) })
	parent := fmt.Sprintf("%s/executor-test-%d", top, os.Getpid())
	alone, other := parent+"/alone", parent+"/other"
	for _, dir := range []string{parent, alone, other} {
		b.must(os.Mkdir(dir, 0o755))
		t.Cleanup(func() { b.must(os.Remove(dir)) })
	}
	const (
		mount = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && "
		none  = "empty\nrefused\n<nil>\n"
	)
	own := "cgroup.procs\nrefused\n<nil>\n"
	if backEnd() != nil { // runtimes mask it always
		own = none
	}
	for name, test := range map[string]struct{ group, before, want string }{
		"alone":                  {alone, mount, own},
		"alone at the root":      {alone, `[ "$1" ] || exec unshare -C sh -c "$script" "$0" again; ` + mount, own},
		"with groups below":      {parent, mount, none},
		"the machine's top":      {top, mount, none},
		"no groups of version 2": {alone, "mount -t tmpfs tmpfs /sys/fs/cgroup && ", none},
		"another group is there": {alone, "mount --bind " + other + " /sys/fs/cgroup && ", none},
		"another with its own path": {alone, `[ "$1" ] || exec unshare -C sh -c "$script" "$0" again; mount --bind ` + other +
			" /sys/fs/cgroup && ", none},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.dir("upper")
			b.dir("work")
			group, err := os.Open(test.group)
			b.must(err)
			defer group.Close()
			exe, err := os.Executable()
			b.must(err)
			script := test.before + `exec "$0" run-and-wait`
			cmd := exec.Command("sh", "-c", script, exe)
			cmd.Env = append(os.Environ(), "script="+script, baseEnv+"="+b.base, scriptEnv+"="+
				`cd /sys/fs/cgroup; ls -A | grep -x -e cgroup.procs -e alone -e "executor.*"; ls -A | grep -q . || echo empty;
				mkdir new 2>/dev/null || echo refused`)
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, UseCgroupFD: true,
				CgroupFD: int(group.Fd())}
			if out, err := cmd.CombinedOutput(); string(out) != test.want { // the helper's exit status is always 1
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}
