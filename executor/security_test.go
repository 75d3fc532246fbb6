package executor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
)

// ownCaps are the capabilities of this process.
func ownCaps(t *testing.T) executor.Caps {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nCapPrm:\t")
	caps, err := strconv.ParseUint(rest[:16], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return executor.Caps(caps)
}

func TestInsecureStepsHaveAllThatTheNamespaceGives(t *testing.T) {
	b := newBox(t)
	b.dir("layer/mnt")
	all := strconv.FormatUint(uint64(ownCaps(t)), 16)
	for _, user := range []string{"root", "alice"} {
		s := b.sh("grep CapEff /proc/self/status | cut -f2; grep -E '^Seccomp:' /proc/self/status | cut -f2; mount -t tmpfs none /mnt && unshare -m true && echo mounted; grep -c . /proc/timer_list >/dev/null && echo unmasked; grep ' /sys ' /proc/mounts | tail -1 | cut -d' ' -f4 | cut -d, -f1")
		s.User, s.Security = user, executor.Security{Insecure: true}
		want := strings.Repeat("0", 16-len(all)) + all + "\n2\nmounted\n" // 2: the filter for keys
		out := b.output(s)
		if !strings.HasPrefix(out, want) {
			t.Errorf("%s: %q, want %q", user, out, want)
		}
		if user == "root" && !inside() && !strings.Contains(out, "unmasked") {
			t.Errorf("%q", out)
		}
		b.checkUpper()
	}
	s := b.sh("hostname; readlink /proc/self/ns/pid /proc/self/ns/mnt; ls / | tr '\\n' ' '; [ $(ls -d /proc/[0-9]* | wc -l) -lt 8 ] && echo alone")
	s.Security = executor.Security{Insecure: true}
	out := b.output(s)
	host, _ := os.Readlink("/proc/self/ns/pid")
	if strings.Contains(out, host) || !strings.HasSuffix(out, "alone\n") {
		t.Errorf("the namespaces are not its own: %q", out)
	}
}

func TestInsecureStepsWithAMapStayInTheirNamespace(t *testing.T) {
	if inside() {
		return // only real root has maps for steps
	}
	b := newBox(t)
	b.dir("layer/mnt")
	s := b.sh("cat /proc/self/uid_map | tr -s ' '; mount -t tmpfs none /mnt && echo mounted; echo 1 2>/dev/null >/proc/sys/vm/drop_caches || echo denied; mknod /tmp/mem c 1 1 2>/dev/null; head -c 1 /tmp/mem 2>/dev/null || echo nodev")
	s.Mapping, s.Security = testMapping(t), executor.Security{Insecure: true}
	if got := b.output(s); !strings.HasSuffix(got, "300000 65536\nmounted\ndenied\nnodev\n") {
		t.Errorf("%q", got)
	}
}

func TestCapabilitiesCanBeChosen(t *testing.T) {
	b := newBox(t)
	for _, test := range []struct {
		add, drop []string
		want      string
	}{
		{[]string{"sys_ptrace"}, nil, "00000000a80c25fb"},
		{[]string{"CAP_SYS_PTRACE", "PERFMON"}, []string{"ALL"}, "0000004000080000"},
		{nil, []string{"cap_chown", "SETFCAP"}, "00000000280425fa"},
		{nil, []string{"ALL"}, "0000000000000000"},
	} {
		add, err := executor.ParseCaps(test.add)
		b.must(err)
		drop, err := executor.ParseCaps(test.drop)
		b.must(err)
		caps := executor.DefaultCaps&^drop | add
		s := b.sh("grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2; grep -E '^Cap(Inh|Amb)' /proc/self/status | cut -f2")
		s.Security.Caps = &caps
		if backEnd() != nil && !inside() { // a runtime's step that is the machine's root makes no devices
			n, err := strconv.ParseUint(test.want, 16, 64)
			b.must(err)
			test.want = fmt.Sprintf("%016x", n&^(1<<unix.CAP_MKNOD))
		}
		none := "0000000000000000"
		if got, want := b.output(s), strings.Join([]string{test.want, test.want, test.want, none, none, ""},
			"\n"); got != want {
			t.Errorf("+%v -%v: %q, want %q", test.add, test.drop, got, want)
		}
	}
	if _, err := executor.ParseCaps([]string{"CAP_NOPE"}); err == nil || !strings.Contains(err.Error(), "CAP_NOPE") {
		t.Errorf("%v", err)
	}
}

func TestFilterAndNewPrivileges(t *testing.T) {
	b := newBox(t)
	s := b.sh("grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | cut -f2; unshare -U true 2>/dev/null && echo unfiltered; true")
	s.Security = executor.Security{NoFilter: true}
	if got := b.output(s); got != "0\n2\nunfiltered\n" { // 2: the filter for keys
		t.Errorf("without a filter: %q", got)
	}
	s.Security = executor.Security{NoNewPrivs: true}
	if got := b.output(s); !strings.HasPrefix(got, "1\n2\n") || strings.Contains(got, "unfiltered") {
		t.Errorf("without new privileges: %q", got)
	}
}

func TestLimits(t *testing.T) {
	b := newBox(t)
	limits := make([]executor.Limit, 0, 2)
	for _, text := range []string{"nofile=33:44", "core=0"} {
		l, err := executor.ParseLimit(text)
		b.must(err)
		limits = append(limits, l)
	}
	s := b.sh("ulimit -Sn; ulimit -Hn; ulimit -c")
	s.Limits = limits
	if got := b.output(s); got != "33\n44\n0\n" {
		t.Errorf("%q", got)
	}
	var own unix.Rlimit
	b.must(unix.Getrlimit(unix.RLIMIT_NOFILE, &own))
	if own.Cur == 33 {
		t.Error("the caller's limit has changed")
	}
	s.Limits = []executor.Limit{{Name: "nofile", Soft: own.Max + 1, Hard: own.Max + 1}}
	if _, _, err := b.run(s); inside() && (err == nil || !strings.Contains(err.Error(), "nofile")) {
		t.Errorf("more than this user may have: %v", err)
	}
	for text, want := range map[string]string{
		"nofile=1": "nofile=1:1", "nofile=1:2": "nofile=1:2", "core=-1": "core=-1:-1", "core=0:unlimited": "core=0:-1",
		"files=1": "", "nofile": "", "nofile=": "", "nofile=2:1": "", "nofile=1:2:3": "", "nofile=x": "", "nofile=-2": "",
		"": "",
	} {
		l, err := executor.ParseLimit(text)
		if (err != nil) != (want == "") || err == nil && l.String() != want {
			t.Errorf("%q: %v %v", text, l, err)
		}
	}
}

func TestDNSReplacesWhatItNames(t *testing.T) {
	b := newBox(t)
	s := b.sh("cat /etc/resolv.conf")
	s.DNS = executor.DNS{Servers: []string{"10.1.1.1", "fe80::1"}, Search: []string{"a.example", "b.example"},
		Options: []string{"ndots:2"}}
	s.Network = "none"
	if got := b.output(s); got != "search a.example b.example\nnameserver 10.1.1.1\nnameserver fe80::1\noptions ndots:2\n" {
		t.Errorf("%q", got)
	}
	s.Network, s.DNS = "", executor.DNS{Servers: []string{"10.1.1.1"}, Search: []string{"."}}
	out := b.output(s)
	if strings.Count(out, "nameserver") != 1 || !strings.Contains(out, "nameserver 10.1.1.1\n") ||
		strings.Contains(out, "search") {
		t.Errorf("%q", out)
	}
	b.write("layer/etc/resolv.conf", "# the image's\n")
	s.DNS = executor.DNS{None: true}
	if got := b.output(s); got != "# the image's\n" {
		t.Errorf("%q", got)
	}
	for _, bad := range []executor.DNS{{Servers: []string{"example.com"}}, {Search: []string{"a b"}},
		{Options: []string{"x\nnameserver 1.1.1.1"}}, {Search: []string{""}}} {
		s.DNS = bad
		if _, _, err := b.run(s); err == nil {
			t.Errorf("%v taken", bad)
		}
	}
}

func TestSysListsOnlyTheStepsOwnInterfaces(t *testing.T) {
	b := newBox(t)
	s := b.sh("ls /sys/class/net; ls /sys/devices/virtual/net; mkdir /sys/x 2>/dev/null || echo ro; ls -A /sys/firmware; ls -d /sys/fs/cgroup/*/ 2>/dev/null || echo none")
	s.Network = "none"
	if got := b.output(s); got != "lo\nlo\nro\nnone\n" {
		t.Errorf("%q", got)
	}
	if !inside() {
		s.Mapping = testMapping(t)
		if got := b.output(s); got != "lo\nlo\nro\nnone\n" {
			t.Errorf("mapped: %q", got)
		}
	}
}

func TestReadOnlyMemoryFileSystem(t *testing.T) {
	b := newBox(t)
	s := b.sh("touch /t/x 2>/dev/null || echo ro")
	s.Mounts = []executor.Mount{{Kind: executor.Tmpfs, Target: "/t", ReadOnly: true}}
	if got := b.output(s); got != "ro\n" {
		t.Errorf("%q", got)
	}
}

// TestStepsDumpNoCore: a dump would keep a step's memory, with secrets, in its layer, or outside of it where the
// machine pipes dumps to a program. For the limit of one byte the kernel does neither; for 0 it would start that
// program.
func TestStepsDumpNoCore(t *testing.T) {
	b := newBox(t)
	s := b.sh("grep core /proc/self/limits | awk '{print $5, $6}'; sh -c 'kill -SEGV $$'; echo $?")
	s.Cwd = "/tmp"
	var own unix.Rlimit
	b.must(unix.Getrlimit(unix.RLIMIT_CORE, &own))
	most := strconv.FormatUint(min(own.Max, 1), 10)
	out := b.output(s)
	if !strings.HasPrefix(out, most+" "+most+"\n") || !strings.HasSuffix(out, "\n139\n") ||
		strings.Contains(out, "core dumped") {
		t.Errorf("%q", out)
	}
	if core, err := filepath.Glob(b.path("upper/tmp/core*")); err != nil || len(core) > 0 {
		t.Errorf("dumped: %q %v", core, err)
	}
	s = b.sh("ulimit -c")
	s.Limits = []executor.Limit{{Name: "core", Soft: 0, Hard: 0}}
	if got := b.output(s); got != "0\n" {
		t.Errorf("the step's own limit: %q", got)
	}
}

func TestAStepHasTheProfileOfSystemCallsThatItIsGiven(t *testing.T) {
	b := newBox(t)
	filter, err := executor.NewFilter([]byte(`{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
		"syscalls": [{"names": ["symlinkat", "symlink"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}`), nil)
	b.must(err)
	s := b.sh("ln -s a /tmp/b; unshare -U true && echo unshared; true")
	s.Security.Filter = filter
	if got := b.output(s); !strings.Contains(got, "No space left") || !strings.HasSuffix(got, "unshared\n") {
		t.Errorf("%q", got)
	}
}

// TestAConfinementThatTheMachineLacksIsAnError: the step doesn't run without it.
func TestAConfinementThatTheMachineLacksIsAnError(t *testing.T) {
	b := newBox(t)
	for what, security := range map[string]executor.Security{
		"AppArmor": {AppArmor: "no-such-profile"}, "SELinux": {SELinux: "no:such:context"},
	} {
		s := b.sh("echo ran")
		s.Security = security
		out, status, err := b.run(s)
		if strings.Contains(out, "ran") || err == nil && status.ExitCode == 0 {
			t.Errorf("%s: %q %v", what, out, err)
		}
		if backEnd() == nil && (err == nil || !strings.Contains(err.Error(), "ask for the "+what)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestDeviceNodesOfTheImageAreNoDevices: crun mounts the root so that they would be.
func TestDeviceNodesOfTheImageAreNoDevices(t *testing.T) {
	if inside() {
		return // nobody makes device nodes there
	}
	b := newBox(t)
	for name, dev := range map[string]uint64{"lower": unix.Mkdev(1, 3), "deep/er": unix.Mkdev(1, 8), "whiteout": 0} {
		b.must(os.MkdirAll(filepath.Dir(b.path("layer/tmp/"+name)), 0o755))
		b.must(unix.Mknod(b.path("layer/tmp/"+name), unix.S_IFCHR|0o666, int(dev)))
	}
	s := b.sh("for n in lower deep/er; do dd if=/tmp/$n count=0 2>/dev/null && ls -l /tmp/$n | grep -q '1, *8' && echo opened $n; ln /tmp/$n /tmp/x 2>/dev/null && echo linked $n; done; true")
	if got := b.output(s); backEnd() != nil && got != "" || strings.Contains(got, "opened") {
		t.Errorf("%q", got)
	}
}
