package cgroup_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/cgroup"
	"github.com/cooperbuild/cooper/executor/step"
)

func TestLimitsAreWrittenAsEachVersionWantsThem(t *testing.T) {
	t.Parallel()
	all := step.Resources{Memory: 64 << 20, Swap: 96 << 20, CPUQuota: 150 * time.Millisecond, CPUShares: 1024, CPUs: "0-1",
		Nodes: "0", Processes: 100, IOWeight: 500,
		IORates: []step.IORate{{Major: 8, Minor: 16, Rate: 1 << 20}, {Major: 8, Write: true, Operations: true, Rate: 9}}}
	for name, test := range map[string]struct {
		r    step.Resources
		v2   bool
		want []string
	}{
		"version 2": {all, true, []string{"memory.max=67108864", "memory.swap.max=33554432", "pids.max=100",
			"cpu.max=150000 100000", "cpu.weight=100", "cpuset.cpus=0-1", "cpuset.mems=0", "io.weight=default 4950",
			"io.max=8:16 rbps=1048576", "io.max=8:0 wiops=9"}},
		"version 1": {all, false, []string{"memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=100663296",
			"pids.max=100", "cpu.cfs_period_us=100000", "cpu.cfs_quota_us=150000", "cpu.shares=1024", "cpuset.cpus=0-1",
			"cpuset.mems=0", "blkio.bfq.weight=500", "blkio.throttle.read_bps_device=8:16 1048576",
			"blkio.throttle.write_iops_device=8:0 9"}},
		"swap as much as memory": {step.Resources{Memory: 5}, true, []string{"memory.max=5", "memory.swap.max=5"}},
		"any swap": {step.Resources{Memory: 5, Swap: -1}, true,
			[]string{"memory.max=5", "memory.swap.max=max"}},
		"any swap in version 1": {step.Resources{Memory: 5, Swap: -1}, false,
			[]string{"memory.limit_in_bytes=5", "memory.memsw.limit_in_bytes=-1"}},
		"no swap":             {step.Resources{Memory: 5, Swap: 5}, true, []string{"memory.max=5", "memory.swap.max=0"}},
		"none":                {step.Resources{Processes: -1}, true, nil},
		"few and many shares": {step.Resources{CPUShares: 2}, true, []string{"cpu.weight=1"}},
		"many shares":         {step.Resources{CPUShares: 262144}, true, []string{"cpu.weight=10000"}},
	} {
		if diff := cmp.Diff(test.want, cgroup.Settings(test.r, test.v2)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestTheCallersGroupIsFound(t *testing.T) {
	t.Parallel()
	const v1 = "30 20 0:26 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory\n" +
		"31 20 0:27 / /sys/fs/cgroup/cpu\\040x rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n" +
		"32 20 0:28 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
		"33 20 0:28 / /sys/fs/cgroup/blkio ro - cgroup cgroup rw,blkio\n"
	const groups = "9:memory:/user/a\n8:cpu,cpuacct:/\n7:pids:/docker/abc/d\n6:blkio:/\n1:name=systemd:/x\n"
	for name, test := range map[string]struct {
		mounts, groups, controller, want string
	}{
		"version 2": {"26 20 0:24 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/user.slice/x.scope\n", "",
			"/sys/fs/cgroup/user.slice/x.scope"},
		"read-only":                  {"26 20 0:24 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n", "0::/x\n", "", ""},
		"outside of what is mounted": {"26 20 0:24 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/../x\n", "", ""},
		"another part is mounted":    {"26 20 0:24 /y /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/x\n", "", ""},
		"version 1":                  {v1, groups, "memory", "/sys/fs/cgroup/memory/user/a"},
		"several controllers":        {v1, groups, "cpuacct", "/sys/fs/cgroup/cpu x"},
		"a part is mounted":          {v1, groups, "pids", "/sys/fs/cgroup/pids/d"},
		"version 1 read-only":        {v1, groups, "blkio", ""},
		"not there":                  {v1, groups, "cpuset", ""},
	} {
		proc := t.TempDir()
		if err := os.Mkdir(filepath.Join(proc, "self"), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"mountinfo": test.mounts, "cgroup": test.groups} {
			if err := os.WriteFile(filepath.Join(proc, "self", file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if dir, ok := cgroup.Where(proc, test.controller); ok != (test.want != "") || ok && dir != test.want {
			t.Errorf("%s: %q, %t, want %q", name, dir, ok, test.want)
		}
	}
	if got := cgroup.SlicePath("a-b-c.slice"); got != "/a.slice/a-b.slice/a-b-c.slice" {
		t.Errorf("%q", got)
	}
}

// top mounts the tree of version 2 and makes a group at its top.
func top(t *testing.T) (mount, group string) {
	t.Helper()
	mount = t.TempDir()
	if err := unix.Mount("cgroup2", mount, "cgroup2", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mount, unix.MNT_DETACH) })
	group = fmt.Sprintf("/cooper-test-%d-%s", os.Getpid(), strings.ToLower(t.Name()))
	if err := os.WriteFile(mount+"/cgroup.subtree_control", []byte("+hugetlb"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(mount+group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(mount + group) })
	return mount, group
}

func removeAll(dir string) {
	below, _ := os.ReadDir(dir)
	for _, b := range below {
		if b.IsDir() {
			removeAll(filepath.Join(dir, b.Name()))
		}
	}
	_ = os.Remove(dir)
}

// process starts a process in the group, which lasts until end is called.
func process(t *testing.T, dir string, args ...string) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	end = func() { _ = in.Close(); _ = cmd.Wait() }
	t.Cleanup(end)
	return cmd.Process.Pid, end
}

func groupOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, group, _ := strings.Cut(string(text), "0::")
	return strings.TrimSpace(group)
}

func TestAsRootThisProgramsOwnGroupIsDivided(t *testing.T) {
	mount, own := top(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ours, _ := process(t, mount+own, exe, waits)
	g, err := cgroup.Maker{Proc: "/proc"}.MakeHuge(mount, own, "", "step")
	if err != nil {
		t.Fatal(err)
	}
	if in := groupOf(t, ours); in != own+"/cooper-itself" {
		t.Errorf("a process of this program is in %s", in)
	}
	pid, end := process(t, mount, exe, waits)
	if err := g.Add(pid); err != nil {
		t.Fatal(err)
	}
	if in := groupOf(t, pid); in != own+"/step" {
		t.Errorf("the step is in %s", in)
	}
	if limit, err := os.ReadFile(mount + own + "/step/hugetlb.2MB.max"); err != nil || string(limit) != "0\n" {
		t.Errorf("%q, %v", limit, err)
	}
	var u step.Usage
	g.Usage(&u)
	if _, limited := g.Limited(); limited || !g.IsUnified() {
		t.Error("a limit is said to be met, or the group is of the wrong version")
	}
	end()
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	if g, err = (cgroup.Maker{Proc: "/proc"}).MakeHuge(mount, own+"/cooper-itself", "", "next"); err != nil {
		t.Errorf("the next step: %v", err)
	} else if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

func TestAsRootAGroupThatOthersAreInStaysWhole(t *testing.T) {
	mount, own := top(t)
	pid, _ := process(t, mount+own, "sh", "-c", "echo; read x")
	g, err := cgroup.Maker{Proc: "/proc"}.MakeHuge(mount, own, "", filepath.Base(own)+"-beside")
	if err != nil {
		t.Fatalf("beside it: %v", err)
	}
	if _, err := os.Stat(mount + own + "-beside"); err != nil {
		t.Error(err)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	if in := groupOf(t, pid); in != own {
		t.Errorf("the process of others is in %s", in)
	}
	asked := 0
	m := cgroup.Maker{Proc: "/proc", Scope: func(slice string) error { asked++; return fmt.Errorf("no, %s", slice) }}
	if _, err := m.MakeHuge(mount, own, "", "step"); err == nil || asked != 1 {
		t.Errorf("systemd wasn't asked: %v", err)
	}
	if _, err := m.MakeHuge(mount, own, "x.slice", "step"); err == nil || !strings.Contains(err.Error(), "no, x.slice") {
		t.Errorf("%v", err)
	}
}

func TestAsRootTheParentThatIsAskedForIsMade(t *testing.T) {
	mount, own := top(t)
	for _, parent := range []string{own + "/a/b", "c/d"} {
		g, err := cgroup.Maker{Proc: "/proc"}.MakeHuge(mount, own, parent, "step")
		if err != nil {
			t.Fatal(err)
		}
		at := mount + parent + "/step"
		if !strings.HasPrefix(parent, "/") {
			at = mount + own + "/" + parent + "/step"
		}
		if _, err := os.Stat(at); err != nil {
			t.Error(err)
		}
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Dir(at)); err == nil {
			t.Errorf("%s is left", filepath.Dir(at))
		}
	}
}
