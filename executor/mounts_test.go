package executor_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
)

func TestMounts(t *testing.T) {
	b := newBox(t)
	b.write("src/file", "data")
	b.write("src/sub/deep", "deep")
	b.must(os.Symlink("/sub", b.path("src/link")))
	src := b.dir("src")
	tests := map[string]struct {
		mount  executor.Mount
		script string
		out    string
	}{
		"read-only": {executor.Mount{Source: src, Target: "/m", ReadOnly: true}, "cat /m/file; touch /m/x",
			"datatouch: /m/x: Read-only file system\n"},
		"writable": {executor.Mount{Source: src, Target: "/a/b/c"}, "echo new > /a/b/c/new; ls /a/b/c",
			"file\nlink\nnew\nsub\n"},
		"subdirectory": {executor.Mount{Source: src, Subpath: "sub", Target: "/m", ReadOnly: true}, "ls /m", "deep\n"},
		"by link":      {executor.Mount{Source: src, Subpath: "/link", Target: "/m", ReadOnly: true}, "ls /m", "deep\n"},
		"file": {executor.Mount{Source: src, Subpath: "sub/deep", Target: "/x/y", ReadOnly: true}, "cat /x/y",
			"deep"},
		"over a file": {executor.Mount{Source: src, Subpath: "file", Target: "/etc/passwd", ReadOnly: true},
			"cat /etc/passwd", "data"},
		"over a directory": {executor.Mount{Source: src, Target: "/etc", ReadOnly: true},
			"ls /etc; grep -c localhost /etc/hosts", "file\nhosts\nlink\nresolv.conf\nsub\n2\n"},
		"in dev": {executor.Mount{Source: src, Target: "/dev/a/b", ReadOnly: true}, "ls /dev/a/b",
			"file\nlink\nsub\n"},
		"tmpfs": {executor.Mount{Kind: executor.Tmpfs, Target: "/t"}, "echo x > /t/x; stat -c %a /t; cat /t/x",
			"1777\nx\n"},
		"tmpfs with a mode": {executor.Mount{Kind: executor.Tmpfs, Target: "/t", Mode: 0o750}, "stat -c %a:%u /t", "750:0\n"},
		"tmpfs with a size": {executor.Mount{Kind: executor.Tmpfs, Target: "/t", SizeBytes: 65536},
			"dd if=/dev/zero of=/t/x bs=4096 count=100 2>/dev/null || echo full", "full\n"},
		"flags": {executor.Mount{Source: src, Target: "/m", ReadOnly: true},
			"grep -c ' /m ro,nosuid,nodev' /proc/self/mountinfo", "1\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := b.sh(test.script + " 2>&1; true")
			s.Mounts = []executor.Mount{test.mount}
			if got := b.output(s); got != test.out {
				t.Errorf("%q", got)
			}
			b.checkUpper()
			b.must(os.RemoveAll(b.path("src/new")))
		})
	}
}

func TestMemoryFileSystemHasTheModeOfWhatItCovers(t *testing.T) {
	b := newBox(t)
	for name, mode := range map[string]uint32{"layer/none": 0, "layer/own": 0o700, "layer/odd": 0o3751, "src": 0o750,
		"src/in": 0o710} {
		b.dir(name)
		b.must(unix.Chmod(b.path(name), mode))
	}
	b.must(os.Symlink("own", b.path("layer/link")))
	s := b.sh(`for m in none own link odd set new new/er bind bind/in bind/new dev/shm dev/new; do echo $m $(stat -c '%a %u:%g' /$m/); done; touch /odd/x; touch /own/x`)
	bind := executor.Mount{Source: b.dir("src"), Target: "/bind", ReadOnly: true}
	s.Mounts = []executor.Mount{bind, {Kind: executor.Tmpfs, Target: "/set", Mode: 0o711},
		{Kind: executor.Tmpfs, Target: "/odd", ReadOnly: true}}
	for _, target := range []string{"/none", "/link", "/new/er", "/bind/in", "/bind/new", "/dev/shm", "/dev/new"} {
		s.Mounts = append(s.Mounts, executor.Mount{Kind: executor.Tmpfs, Target: target})
	}
	bind.Target = "/new"
	s.Mounts = append(s.Mounts, bind, executor.Mount{Kind: executor.Tmpfs, Target: "/new"})
	want := "none 0 0:0\nown 700 0:0\nlink 700 0:0\nodd 3751 0:0\nset 711 0:0\nnew 750 0:0\nnew/er 1777 0:0\nbind 750 0:0\nbind/in 710 0:0\n" +
		"bind/new 1777 0:0\ndev/shm 1777 0:0\ndev/new 1777 0:0\ntouch: /odd/x: Read-only file system\n"
	if got := b.output(s); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	b.checkUpper()
}

func TestWritesGoNowhereWithScratch(t *testing.T) {
	b := newBox(t)
	b.write("src/dir/file", "data")
	b.must(os.Chmod(b.path("src/dir"), 0o705))
	s := b.sh("stat -c %a /m; echo changed > /m/file; echo new > /m/new; cat /m/file /m/new; echo changed > /f; cat /f; rm /m/file; ls /m")
	s.Mounts = []executor.Mount{
		{Source: b.dir("src"), Subpath: "dir", Target: "/m", Scratch: b.dir("scratch1")},
		{Source: b.dir("src"), Subpath: "dir/file", Target: "/f", Scratch: b.dir("scratch2")},
	}
	for range 2 {
		if got := b.output(s); got != "705\nchanged\nnew\nchanged\nnew\n" {
			t.Errorf("%q", got)
		}
		if data, _ := os.ReadFile(b.path("src/dir/file")); string(data) != "data" {
			t.Errorf("the source is %q", data)
		}
		b.checkUpper()
		b.must(os.RemoveAll(b.path("scratch1")))
		b.must(os.RemoveAll(b.path("scratch2")))
		s.Mounts[0].Scratch, s.Mounts[1].Scratch = b.dir("scratch1"), b.dir("scratch2")
	}
}

func TestMountsInMounts(t *testing.T) {
	b := newBox(t)
	b.write("src/file", "data")
	b.write("cache/c", "cached")
	bind := func(target string, m executor.Mount) executor.Mount {
		m.Source, m.Target = b.dir("src"), target
		return m
	}
	cache := executor.Mount{Source: b.dir("cache"), Target: "/m/x/cache"}
	tests := map[string]struct {
		mounts []executor.Mount
		script string
		out    string
		keeps  bool // the outer source gets the mount point
	}{
		"in a read-only one": {[]executor.Mount{bind("/m", executor.Mount{ReadOnly: true}), cache},
			"cat /m/file /m/x/cache/c", "datacached", false},
		"given first": {[]executor.Mount{cache, bind("/m", executor.Mount{ReadOnly: true})},
			"cat /m/file /m/x/cache/c", "datacached", false},
		"two": {[]executor.Mount{bind("/m", executor.Mount{ReadOnly: true}), cache, {Kind: executor.Tmpfs, Target: "/m/y"}},
			"cat /m/file /m/x/cache/c; touch /m/y/z; touch /m/z 2>&1", "datacachedtouch: /m/z: Read-only file system\n", false},
		"in a discarding one": {[]executor.Mount{bind("/m", executor.Mount{Scratch: b.dir("scratch")}), cache},
			"cat /m/file /m/x/cache/c", "datacached", false},
		"in a tmpfs": {[]executor.Mount{{Kind: executor.Tmpfs, Target: "/m"}, cache}, "cat /m/x/cache/c", "cached",
			false},
		"in a writable one": {[]executor.Mount{bind("/m", executor.Mount{}), cache}, "cat /m/file /m/x/cache/c",
			"datacached", true},
		"a file": {[]executor.Mount{{Kind: executor.Tmpfs, Target: "/m"},
			{Source: b.dir("src"), Subpath: "file", Target: "/m/a/b", ReadOnly: true}}, "cat /m/a/b", "data", false},
		"by a link": {[]executor.Mount{bind("/link/m", executor.Mount{ReadOnly: true}),
			{Source: b.dir("cache"), Target: "/link/m/c"}}, "cat /real/m/file /real/m/c/c", "datacached", false},
	}
	b.dir("layer/real")
	b.must(os.Symlink("real", b.path("layer/link")))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := b.sh(test.script + "; true")
			s.Mounts = test.mounts
			if got := b.output(s); got != test.out {
				t.Errorf("%q", got)
			}
			b.checkUpper()
			if _, err := os.Lstat(b.path("src/x")); (err == nil) != test.keeps {
				t.Errorf("mount point in the source: %v", err)
			}
			b.must(os.RemoveAll(b.path("src/x")))
		})
	}
}

func TestViewOfLayersIsMounted(t *testing.T) {
	b := newBox(t)
	b.write("l1/a", "a1")
	b.write("l2/b", "b2")
	view, err := overlay.Mount(overlay.Options{Lower: []*os.File{b.dir("l2"), b.dir("l1")}, UserXattr: inside()})
	b.must(err)
	defer view.Close()
	s := b.sh("cat /m/a /m/b /f; touch /m/x 2>/dev/null || echo ro")
	s.Mounts = []executor.Mount{
		{Source: view, Target: "/m", ReadOnly: true}, {Source: view, Subpath: "/b", Target: "/f", ReadOnly: true},
	}
	if got := b.output(s); got != "a1b2b2ro\n" {
		t.Errorf("%q", got)
	}
	s.Mounts = []executor.Mount{{Source: view, Target: "/m", Scratch: b.dir("scratch")}}
	s.Args[2] = "echo x > /m/a; cat /m/a /m/b"
	if got := b.output(s); got != "x\nb2" {
		t.Errorf("%q", got)
	}
}

func TestBadMountsAreErrors(t *testing.T) {
	b := newBox(t)
	b.write("src/file", "data")
	b.must(unix.Mkfifo(b.path("src/fifo"), 0o644))
	b.must(os.Symlink("/proc/self/status", b.path("layer/to-proc")))
	b.must(os.Symlink("loop", b.path("layer/loop")))
	src := b.dir("src")
	for name, m := range map[string]executor.Mount{
		"/proc/self: belongs to the executor":         {Source: src, Target: "/proc/self"},
		"belongs to the executor":                     {Source: src, Target: "/sys/fs/cgroup"},
		"/dev\": the target belongs":                  {Source: src, Target: "/dev/"},
		"can't be the root":                           {Source: src, Target: "/x/../"},
		"must be an absolute path":                    {Source: src, Target: "relative"},
		"no such file":                                {Source: src, Subpath: "nope", Target: "/m"},
		"neither a directory nor":                     {Source: src, Subpath: "fifo", Target: "/m"},
		"source is a directory, the image has a file": {Source: src, Target: "/etc/passwd"},
		"source is a file, the image has a directory": {Source: src, Subpath: "file", Target: "/etc"},
		"symbolic link there to /proc":                {Source: src, Subpath: "file", Target: "/to-proc"},
		"too many levels of symbolic links":           {Source: src, Target: "/loop"},
		"no source":                                   {Target: "/m"},
	} {
		s := b.step("/bin/true")
		s.Mounts = []executor.Mount{m}
		_, _, err := b.run(s)
		if _, want, _ := strings.Cut(name, ": "); err == nil ||
			!strings.Contains(err.Error(), strings.TrimPrefix(want, name)) && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.checkUpper()
}

func TestFilesAreShown(t *testing.T) {
	b := newBox(t)
	s := b.sh("cat /dev/pipes/EOF1 /run/x/script; /dev/pipes/EOF1; stat -c %a /run/x/script; (echo x >> /run/x/script) 2>/dev/null || echo ro")
	s.Files = []executor.File{
		{Path: "/dev/pipes/EOF1", Data: []byte("#!/bin/sh\necho ran\n"), Mode: 0o755},
		{Path: "/run/x/script", Data: []byte("text\n"), Mode: 0o644},
	}
	if got := b.output(s); got != "#!/bin/sh\necho ran\ntext\nran\n644\nro\n" {
		t.Errorf("%q", got)
	}
	b.checkUpper()
}
