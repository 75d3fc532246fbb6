package executor_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
)

func TestNamespacesAreTheStepsOwn(t *testing.T) {
	b := newBox(t)
	out := b.output(b.sh(
		"for n in mnt pid ipc uts cgroup net; do echo $n $(readlink /proc/self/ns/$n); done; hostname; hostname"))
	for line := range strings.SplitSeq(out, "\n") {
		name, ns, ok := strings.Cut(line, " ")
		if !ok {
			continue
		}
		host, err := os.Readlink("/proc/self/ns/" + name)
		b.must(err)
		if same := host == ns; same != (name == "net") {
			t.Errorf("%s: %s, the caller's is %s", name, ns, host)
		}
	}
	if !strings.HasSuffix(out, "\ncooper\ncooper\n") {
		t.Errorf("host name: %q", out)
	}
	if name, _ := os.Hostname(); name == "cooper" {
		t.Error("the caller's host name has changed")
	}
}

func TestNetworkNoneHasOnlyLoopback(t *testing.T) {
	b := newBox(t)
	s := b.sh("ls /sys/class/net >/dev/null; ip -o link | cut -d: -f2; ip -o addr | grep -c 'inet 127.0.0.1'; readlink /proc/self/ns/net; cat /etc/resolv.conf")
	s.Network = "none"
	out := b.output(s)
	host, _ := os.Readlink("/proc/self/ns/net")
	if !strings.HasPrefix(out, " lo\n1\n") || strings.Contains(out, host) {
		t.Errorf("%q", out)
	}
	s.Network = "bridge"
	if _, _, err := b.run(s); err == nil {
		t.Error("unknown network taken")
	}
}

func TestNetworkHostIsTheCallers(t *testing.T) {
	b := newBox(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	b.must(err)
	defer func() { _ = l.Close() }()
	got := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		defer func() { _ = c.Close() }()
		buf := make([]byte, 5)
		n, _ := c.Read(buf)
		got <- string(buf[:n])
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	b.output(b.sh("echo hello | nc 127.0.0.1 " + port))
	if s := <-got; s != "hello" {
		t.Errorf("%q", s)
	}
}

func TestCapabilities(t *testing.T) {
	b := newBox(t)
	all := "00000000a80425fb" // what container engines give
	if backEnd() != nil && !inside() {
		all = "00000000a00425fb" // a runtime's step that is the machine's root makes no devices
	}
	const none = "0000000000000000"
	for user, want := range map[string][]string{"root": {none, all, all, all, none},
		"alice": {none, none, none, all, none}} {
		s := b.sh("grep -E '^Cap' /proc/self/status | cut -f2; grep NoNewPrivs /proc/self/status; grep ^Seccomp: /proc/self/status")
		s.User = user
		got := strings.Fields(b.output(s))
		if want = append(want, "NoNewPrivs:", "0", "Seccomp:", "2"); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %q", user, got)
		}
	}
}

func TestSetuidProgramsWork(t *testing.T) {
	b := newBox(t)
	b.addSelf()
	b.must(unix.Chmod(b.path("layer/self"), 0o4755))
	s := b.step("/self", "ids")
	s.User = "alice"
	if got := b.output(s); got != "1000 0\n" {
		t.Errorf("%q", got)
	}
}

func TestForbiddenThingsFail(t *testing.T) {
	b := newBox(t)
	b.dir("layer/mnt")
	tests := map[string]string{
		"mount tmpfs":          "mount -t tmpfs x /mnt",
		"mount proc":           "mount -t proc x /mnt",
		"bind mount":           "mount -o bind / /mnt",
		"remount sys":          "mount -o remount,rw /sys",
		"unmount mask":         "umount /proc/keys",
		"user namespace":       "unshare -U true",
		"mount namespace":      "unshare -m true",
		"set host name":        "hostname evil",
		"write sysctl":         "echo 1 > /proc/sys/vm/drop_caches",
		"write sysrq":          "echo h > /proc/sysrq-trigger",
		"write sys":            "echo x > /sys/kernel/uevent_helper",
		"write core pattern":   "echo x > /proc/sys/kernel/core_pattern",
		"read kcore":           "head -c 1 /proc/kcore | grep -q .",
		"read keys":            "grep -q . /proc/keys",
		"read timer list":      "grep -q . /proc/timer_list",
		"list firmware":        "ls -A /sys/firmware | grep -q .",
		"list cgroups":         "ls -d /sys/fs/cgroup/*/",
		"device node":          "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk",
		"any device node":      "mknod /tmp/null c 1 3 && : </tmp/null",
		"any node in /dev":     "mknod /dev/null2 c 1 3 && : </dev/null2",
		"device node in /dev":  "mknod /dev/disk b 254 0 && head -c 1 /dev/disk",
		"device node in shm":   "mknod /dev/shm/mem c 1 1 && head -c 1 /dev/shm/mem",
		"process of the host":  "[ $(ls -d /proc/[0-9]* | wc -l) -gt 8 ]",
		"terminal":             "echo x > /dev/tty",
		"old root":             "ls /proc/1/root/proc/1/cwd/../../../../" + b.base,
		"replace device":       "rm /dev/null",
		"empty mask is shared": "touch /sys/firmware/x",
	}
	if backEnd() != nil { // makes devices of the step's own
		delete(tests, "replace device")
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			if out, status, err := b.run(b.sh(script + " 2>&1")); err != nil || status.ExitCode == 0 {
				t.Errorf("%+v %v %s", status, err, out)
			}
		})
	}
}

func TestMountTableHasOnlyTheStepsMounts(t *testing.T) {
	b := newBox(t)
	out := b.output(b.sh("cut -d' ' -f5 /proc/self/mountinfo | sort"))
	allowed := map[string]bool{"/": true}
	roots := 0
	for line := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
		if line == "/" {
			roots++
		}
		if !allowed[line] && !strings.HasPrefix(line, "/proc") && !strings.HasPrefix(line, "/sys") &&
			!strings.HasPrefix(line, "/dev") {
			t.Errorf("mount %s", line)
		}
	}
	if roots != 1 {
		t.Errorf("%d mounts on the root:\n%s", roots, b.output(b.sh("cat /proc/self/mountinfo")))
	}
}

func TestDev(t *testing.T) {
	b := newBox(t)
	out := b.output(b.sh(`
		echo x > /dev/null && [ $(head -c 3 /dev/zero | wc -c) = 3 ] && head -c 1 /dev/urandom > /dev/null && head -c 1 /dev/random >/dev/null || exit 1
		echo x > /dev/full && exit 2
		touch /dev/shm/x && stat -c %a /dev/shm
		for n in ptmx fd stdin stdout stderr; do readlink /dev/$n; done
		stat -c '%F %a' /dev/pts/ptmx
		[ ! -e /dev/vda ] && [ ! -e /dev/mem ] && [ ! -e /dev/kmsg ] && echo minimal`))
	want := "1777\npts/ptmx\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\ncharacter special file 666\nminimal\n"
	if !strings.HasSuffix(out, want) {
		t.Errorf("%q", out)
	}
	b.checkUpper()
}

func TestDevicesOfTheCallerCanNotBeChanged(t *testing.T) {
	b := newBox(t)
	var before, after unix.Stat_t
	b.must(unix.Stat("/dev/null", &before))
	s := b.sh("chmod 600 /dev/null /proc/keys /proc/self/fd/0; chown 7:7 /dev/null /proc/keys /proc/self/fd/0; echo x > /dev/null; echo x >&0")
	for _, mapped := range []bool{false, !inside()} { // with a map a runtime gives the root of the container its streams
		if mapped {
			s.Mapping = testMapping(t)
		}
		_, _, err := b.run(s)
		b.must(err)
	}
	b.must(unix.Stat("/dev/null", &after))
	if before.Mode != after.Mode || before.Uid != after.Uid || before.Gid != after.Gid {
		t.Errorf("/dev/null is %o %d:%d", after.Mode, after.Uid, after.Gid)
		_ = unix.Chmod("/dev/null", 0o666)
		_ = unix.Chown("/dev/null", 0, 0)
	}
}

func TestShmSizeIsALimit(t *testing.T) {
	b := newBox(t)
	s := b.sh("dd if=/dev/zero of=/dev/shm/x bs=1048576 count=8 2>/dev/null")
	s.ShmSize = 4 << 20
	if _, status, err := b.run(s); err != nil || status.ExitCode == 0 {
		t.Errorf("%+v %v", status, err)
	}
}

func TestShmHasExactlyTheSizeThatIsAskedFor(t *testing.T) {
	b := newBox(t)
	for size, want := range map[int64]string{0: "65536 0 65536 67108864\n", 16 << 20: "16384 0 16384 16777216\n",
		4096: "4 0 4 4096\n"} {
		// What is free can be used, whatever else is shown to the step.
		s := b.sh(`df -k /dev/shm >/tmp/df
			(read title; read name size used free rest; head -c $((size * 1024)) /dev/zero >/dev/shm/x; echo $size $used $free $(stat -c %s /dev/shm/x)) </tmp/df`)
		s.ShmSize = size
		s.Files = []executor.File{{Path: "/run/much", Data: make([]byte, 1<<20)},
			{Path: "/dev/shm/more", Data: make([]byte, 1<<20)}}
		if got := b.output(s); got != want {
			t.Errorf("%d: %q", size, got)
		}
	}
}

func TestThingsAreShownInShm(t *testing.T) {
	b := newBox(t)
	b.write("src/file", "data\n")
	s := b.sh("cat /dev/shm/a/file /dev/shm/m/b/file /dev/shm/m/c; stat -c %a /dev/shm /dev/shm/a/t; touch /dev/shm/a/t/x /dev/shm/x")
	s.ShmSize = 8192
	s.Files = []executor.File{{Path: "/dev/shm/a/file", Data: []byte("text\n")}}
	s.Mounts = []executor.Mount{
		{Source: b.dir("src"), Target: "/dev/shm/m/b"}, {Source: b.dir("src"), Subpath: "file", Target: "/dev/shm/m/c"},
		{Kind: executor.Tmpfs, Target: "/dev/shm/a/t"},
	}
	if got := b.output(s); got != "text\ndata\ndata\n1777\n1777\n" {
		t.Errorf("%q", got)
	}
	s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.Tmpfs, Target: "/dev/shm"})
	s.Mounts[0].ReadOnly = true
	if got := b.output(s); got != "text\ndata\ndata\n1777\n1777\n" {
		t.Errorf("%q in a memory file system", got)
	}
	b.checkUpper()
}

func TestNameResolutionFiles(t *testing.T) {
	b := newBox(t)
	s := b.sh("cat /etc/hosts; hostname; cat /etc/resolv.conf")
	s.Hostname = "box"
	s.AddHosts = []string{"db:10.1.2.3", "six:fe80::1", "gw:host-gateway", "br:[::1]"}
	out := b.output(s)
	for _, want := range []string{"127.0.0.1\tlocalhost\n", "127.0.1.1\tbox\n", "10.1.2.3\tdb\n", "fe80::1\tsix\n",
		"127.0.0.1\tgw\n", "::1\tbr\n", "\nbox\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	resolv, _ := os.ReadFile("/etc/resolv.conf")
	if !strings.Contains(out, string(resolv)) || strings.Contains(string(resolv), "# changed") {
		t.Errorf("resolv.conf: %q, caller's %q", out, resolv)
	}
	b.checkUpper()
	for _, bad := range []string{"x", "x:y", ":1.2.3.4", "a b:1.2.3.4", "a\nb:1.2.3.4"} {
		s.AddHosts = []string{bad}
		if _, _, err := b.run(s); err == nil {
			t.Errorf("%q taken", bad)
		}
	}
}

// What a step makes of the files of name resolution is in the layer, and nothing else of them.
func TestNameResolutionFilesAreKeptAsTheStepLeavesThem(t *testing.T) {
	b := newBox(t)
	b.write("layer/etc/hosts", "# the image's\n")
	b.must(os.Chmod(b.path("layer/etc"), 0o750))
	for name, test := range map[string]struct {
		script string
		upper  string // what the layer has
		mount  string // with a mount, as storage drivers without overlay have it
	}{
		"nothing":  {"cat /etc/hosts /etc/resolv.conf >/dev/null", "", ""},
		"the rest": {"echo x >/etc/passwd", "etc etc/passwd", "etc/passwd"},
		"appended to": {"echo '1.2.3.4 me' >>/etc/hosts; echo x >>/etc/resolv.conf", "etc etc/hosts etc/resolv.conf",
			"etc/hosts etc/resolv.conf"},
		"changed":   {"chmod 600 /etc/hosts", "etc etc/hosts", ""},
		"host name": {"echo mine >/etc/hostname; hostname | grep -qx cooper", "etc etc/hostname", "etc/hostname"},
		"replaced":  {"ln -nsf ../run/r /etc/resolv.conf; echo new >/etc/h && rm /etc/hosts && ln /etc/h /etc/hosts; rm /etc/h", "etc etc/hosts etc/resolv.conf", "-"},
		"removed":   {"rm /etc/resolv.conf", "etc", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			s := b.sh(test.script)
			s.DNS.Servers = []string{"10.1.2.3"}
			before, err := os.Stat(b.path("layer/etc"))
			b.must(err)
			b.output(s)
			b.checkUpper(strings.Fields(test.upper)...)
			if st, err := os.Stat(b.path("upper/etc")); err == nil && (st.Mode() != before.Mode()) {
				t.Errorf("/etc is %v", st.Mode())
			}
			if test.mount != "-" {
				b.must(os.RemoveAll(b.path("upper")))
				s.Rootfs.Upper = b.dir("upper")
				s.Rootfs.Work = b.dir("work-" + strings.ReplaceAll(name, " ", "-"))
				s.Rootfs = executor.Rootfs{Dir: mounted(b, s.Rootfs)}
				b.output(s)
				for _, file := range strings.Fields(test.mount) {
					if text, err := os.ReadFile(b.path("upper/" + file)); err != nil || len(text) == 0 {
						t.Errorf("mounted: %s: %q, %v", file, text, err)
					}
				}
				if _, err := os.Lstat(b.path("upper/etc/hosts")); (err == nil) != strings.Contains(test.mount, "hosts") {
					t.Errorf("mounted: /etc/hosts: %v", err)
				}
			}
			b.must(os.RemoveAll(b.path("upper")))
		})
	}
}

func TestSystemCallFilter(t *testing.T) {
	b := newBox(t)
	b.addSelf()
	s := b.step("/self", "seccomp")
	s.Env = []string{runtimeEnv + "=" + os.Getenv(runtimeEnv)}
	out := b.output(s)
	if strings.TrimSpace(out) != "ok" {
		t.Errorf("%s", out)
	}
}
