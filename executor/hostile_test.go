package executor_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
)

func TestMountPointsLeaveNoTrace(t *testing.T) {
	b := newBox(t)
	b.write("src/file", "data")
	mounts := []executor.Mount{
		{Source: b.dir("src"), Target: "/new/dir", ReadOnly: true},
		{Source: b.dir("src"), Subpath: "file", Target: "/etc/new/file", ReadOnly: true},
	}
	t.Run("nothing else", func(t *testing.T) {
		s := b.step("/bin/true")
		s.Mounts = mounts
		b.output(s)
		b.checkUpper()
	})
	t.Run("a file beside them", func(t *testing.T) {
		s := b.sh("echo x > /new/mine; echo x > /etc/mine")
		s.Mounts = mounts
		b.output(s)
		b.checkUpper("etc", "etc/mine", "new", "new/mine")
	})
	names, err := os.ReadDir(b.path("work"))
	b.must(err)
	for _, n := range names {
		if n.Name() == "step-stubs" {
			t.Error("stubs of the step left")
		}
	}
}

func TestHiddenMountPointsLeaveNoTrace(t *testing.T) {
	for _, dir := range []bool{false, true} {
		b := newBox(t)
		// What is hidden: /proc and /etc/hosts by whiteouts, /opt by being opaque.
		b.must(os.MkdirAll(b.path("top/etc"), 0o755))
		b.must(os.MkdirAll(b.path("top/opt"), 0o751))
		b.dir("layer/proc")
		b.dir("layer/opt/old")
		b.write("layer/etc/hosts", "")
		xattr := "trusted.overlay.opaque"
		if inside() {
			xattr = "user.overlay.opaque"
		}
		b.must(unix.Setxattr(b.path("top/opt"), xattr, []byte("y"), 0))
		b.must(unix.Mknod(b.path("top/etc/hosts"), unix.S_IFCHR, 0))
		b.must(unix.Mknod(b.path("top/proc"), unix.S_IFCHR, 0))
		old := time.Unix(1000000, 0)
		for _, d := range []string{"top/opt", "top/etc", "top", "upper"} {
			b.dir(d)
			b.must(os.Chtimes(b.path(d), old, old))
		}
		s := b.sh("cat /etc/hosts | grep -c localhost; ls /opt; ls /proc/self/status")
		s.Mounts = []executor.Mount{{Kind: executor.Tmpfs, Target: "/opt/old/deep"}}
		s.Rootfs.Lower = append([]*os.File{b.dir("top")}, s.Rootfs.Lower...)
		if dir {
			view := mounted(b, s.Rootfs)
			s.Rootfs = executor.Rootfs{Dir: view}
		}
		if got := b.output(s); got != "2\nold\n/proc/self/status\n" {
			t.Errorf("%q", got)
		}
		if !dir {
			b.checkUpper()
		}
		st, err := os.Stat(b.path("upper"))
		b.must(err)
		if !st.ModTime().Equal(old) {
			t.Errorf("the root's time is %s", st.ModTime())
		}
	}
}

func TestDirectoryAsRoot(t *testing.T) {
	b := newBox(t)
	old := time.Unix(1000000, 0)
	b.must(os.Chtimes(b.path("layer/etc"), old, old))
	b.must(os.Chtimes(b.path("layer"), old, old))
	s := b.sh("echo x > /tmp/x; hostname; echo data > /m/x")
	s.Rootfs = executor.Rootfs{Dir: b.dir("layer")}
	s.Mounts = []executor.Mount{{Kind: executor.Tmpfs, Target: "/m"}}
	if got := b.output(s); got != "cooper\n" {
		t.Errorf("%q", got)
	}
	var names []string
	for _, d := range []string{"layer", "layer/etc"} {
		list, err := os.ReadDir(b.path(d))
		b.must(err)
		for _, n := range list {
			names = append(names, n.Name())
		}
		st, err := os.Stat(b.path(d))
		b.must(err)
		if !st.ModTime().Equal(old) {
			t.Errorf("time of %s is %s", d, st.ModTime())
		}
	}
	if got := strings.Join(names, " "); got != "bin etc tmp group passwd" {
		t.Errorf("left: %s", got)
	}
	if data, _ := os.ReadFile(b.path("layer/tmp/x")); string(data) != "x\n" {
		t.Errorf("written: %q", data)
	}
}

func TestEmptyImage(t *testing.T) {
	b := newBox(t)
	b.must(os.MkdirAll(b.path("upper/bin"), 0o755))
	b.addBusybox(b.path("upper"))
	s := b.step("/bin/sh", "-c", "hostname; ls /")
	s.Rootfs.Lower = nil
	if got := b.output(s); got != "cooper\nbin\ndev\netc\nproc\nsys\ntmp\n" {
		t.Errorf("%q", got)
	}
	if _, err := os.Lstat(b.path("upper/etc")); err == nil {
		t.Error("mount points left")
	}
}

func TestUmaskOfTheCallerDoesNotMatter(t *testing.T) {
	b := newBox(t)
	b.must(os.MkdirAll(b.path("upper/bin"), 0o755))
	b.addBusybox(b.path("upper"))
	s := b.step("/bin/sh", "-c",
		"stat -c %a /etc /etc/hosts /dev /dev/shm /m /f /sys/firmware; hostname; cat /f; echo x > /etc/y")
	s.Rootfs.Lower = nil
	s.Files = []executor.File{{Path: "/f", Data: []byte("f\n"), Mode: 0o644}}
	s.Mounts = []executor.Mount{{Kind: executor.Tmpfs, Target: "/m", Mode: 0o755}}
	old := unix.Umask(0o077)
	out := b.output(s)
	unix.Umask(old)
	masked := "555"
	if s.Runtime != nil { // hides a directory with a memory file system
		masked = "1777"
	}
	if out != "755\n644\n755\n1777\n755\n644\n"+masked+"\ncooper\nf\n" {
		t.Errorf("%q", out)
	}
	if st, err := os.Stat(b.path("upper/etc")); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("%v %v", st, err)
	}
}

func TestHostileKernelDirectoriesAreRefused(t *testing.T) {
	for _, name := range []string{"dev", "proc", "sys"} {
		for kind, plant := range map[string]func(string) error{
			"symbolic link": func(p string) error { return os.Symlink("/tmp", p) },
			"to nowhere":    func(p string) error { return os.Symlink("/nowhere", p) },
			"not a dir":     func(p string) error { return os.WriteFile(p, nil, 0o644) },
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				b := newBox(t)
				b.must(plant(b.path("layer/" + name)))
				_, _, err := b.run(b.step("/bin/true"))
				if err == nil || !strings.Contains(err.Error(), "the image's /"+name+" is ") {
					t.Errorf("%v", err)
				}
				b.checkUpper()
			})
		}
	}
}

func TestLinksInTheImageStayInside(t *testing.T) {
	b := newBox(t)
	b.write("outside/etc/hosts", "host's own")
	b.write("src/file", "data")
	up := strings.Repeat("../", 30)
	b.must(os.Symlink(up+b.base+"/outside/etc", b.path("layer/abs")))
	b.must(os.Symlink(b.base+"/outside/new", b.path("layer/dangling")))
	b.must(os.RemoveAll(b.path("layer/etc/hosts")))
	b.must(os.Symlink(b.base+"/outside/etc/hosts", b.path("layer/etc/hosts")))
	b.must(os.Symlink("../run/resolved/resolv.conf", b.path("layer/etc/resolv.conf")))
	b.must(os.Symlink("/dev/null", b.path("layer/etc/hostname")))
	s := b.sh("cat /abs/x/file /dangling/file /etc/resolv.conf; grep -c localhost /etc/hosts")
	s.Mounts = []executor.Mount{
		{Source: b.dir("src"), Target: "/abs/x", ReadOnly: true}, {Source: b.dir("src"), Target: "/dangling", ReadOnly: true},
	}
	resolv, _ := os.ReadFile("/etc/resolv.conf")
	if got, want := b.output(s), "datadata"+string(resolv)+"2\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	b.checkUpper()
	for _, name := range []string{"outside/etc/x", "outside/new"} {
		if _, err := os.Lstat(b.path(name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
	if data, _ := os.ReadFile(b.path("outside/etc/hosts")); string(data) != "host's own" {
		t.Errorf("host file is %q", data)
	}
}

func TestSourceLinksStayInside(t *testing.T) {
	b := newBox(t)
	b.write("secret", "secret")
	b.dir("src")
	b.must(os.Symlink("/", b.path("src/root")))
	b.must(os.Symlink("../secret", b.path("src/up")))
	b.must(os.Symlink(b.base+"/secret", b.path("src/abs")))
	b.must(os.Symlink("/proc/self/root", b.path("src/magic")))
	s := b.sh("ls /m")
	s.Mounts = []executor.Mount{{Source: b.dir("src"), Subpath: "root", Target: "/m", ReadOnly: true}}
	if got := b.output(s); got != "abs\nmagic\nroot\nup\n" {
		t.Errorf("%q", got)
	}
	for _, sub := range []string{"up", "abs", "magic", "../secret", "root/../../secret"} {
		s.Mounts[0].Subpath = sub
		if out, _, err := b.run(s); err == nil {
			t.Errorf("%s: %q", sub, out)
		}
	}
}

func TestHostileUserDatabases(t *testing.T) {
	plants := map[string]func(b *box, path string) error{
		"link to the host": func(b *box, p string) error {
			return os.Symlink("/../../../../../../etc/shadow-of-the-host",
				p)
		},
		"pipe":       func(_ *box, p string) error { return unix.Mkfifo(p, 0o644) },
		"directory":  func(_ *box, p string) error { return os.Mkdir(p, 0o755) },
		"magic link": func(_ *box, p string) error { return os.Symlink("/proc/self/fd/0", p) },
		"endless": func(_ *box, p string) error {
			if err := os.WriteFile(p, []byte("x:"), 0o644); err != nil {
				return err
			}
			return os.Truncate(p, 1<<40)
		},
	}
	for name, plant := range plants {
		for _, file := range []string{"passwd", "group"} {
			t.Run(name+" "+file, func(t *testing.T) {
				b := newBox(t)
				path := b.path("layer/etc/" + file)
				b.must(os.Remove(path))
				b.must(plant(b, path))
				s := b.step("/bin/true")
				s.User = "alice:staff"
				if _, _, err := b.run(s); err == nil {
					t.Error("no error")
				}
			})
		}
	}
	t.Run("odd lines", func(t *testing.T) {
		b := newBox(t)
		b.write("layer/etc/passwd", "\n#x\nalice\nalice:x\nalice:x:-1:0::/:\nalice:x:99999999999:0::/:\nalice:x:7:8:::\n")
		b.write("layer/etc/group", "\nalice:::alice\ng:x:4294967295:alice\ng:x:9:,alice,,\n")
		s := b.sh("grep -E '^(Uid|Gid|Groups)' /proc/self/status; echo $HOME")
		s.User = "alice"
		if got := b.output(s); got != "Uid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t8 9 \n/\n" {
			t.Errorf("%q", got)
		}
	})
}

// mounted gives the root as a mounted directory, as another storage driver would.
func mounted(b *box, r executor.Rootfs) *os.File {
	b.t.Helper()
	view := mountOverlay(b, r)
	b.t.Cleanup(func() { view.Close() })
	return view
}
