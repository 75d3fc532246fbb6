package mounts_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/ids"
	"github.com/cooperbuild/cooper/executor/internal/memfs"
	"github.com/cooperbuild/cooper/executor/internal/mounts"
	"github.com/cooperbuild/cooper/executor/internal/steproot"
	"github.com/cooperbuild/cooper/executor/step"
	"github.com/cooperbuild/cooper/userns/asroot"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) { os.Exit(usertest.Main(usertest.Both(m.Run))) }

// stage is a plan, with the root and the memory file system that it is for.
type stage struct {
	t      *testing.T
	top    string
	root   *steproot.Root
	memory *memfs.FS
	*mounts.Plan
}

// newStage has a layer with these files: a name with "/" at the end is a directory, a text after "->" a link's target.
// plain makes the layer's directory the root, else it is an overlay.
func newStage(t *testing.T, plain bool, files map[string]string) *stage {
	t.Helper()
	s := &stage{t: t, top: t.TempDir()}
	for _, d := range []string{"layer", "upper", "work"} {
		s.must(os.Mkdir(s.path(d), 0o755))
	}
	for name, text := range files {
		s.write("layer/"+name, text)
	}
	rootfs := step.Rootfs{
		Lower: []*os.File{s.dir("layer")}, Upper: s.dir("upper"), Work: s.dir("work"), UserXattr: !asroot.Real(),
		Volatile: true,
	}
	if plain {
		rootfs = step.Rootfs{Dir: s.dir("layer")}
	}
	namespace, err := ids.New(step.Step{})
	s.must(err)
	s.memory, err = memfs.New(memfs.Options{Size: 8 << 20, Shm: 1 << 20})
	s.must(err)
	s.root, err = steproot.Open(rootfs, namespace)
	s.must(err, s.memory.MakeDev())
	s.Plan = mounts.New(namespace, s.memory, s.root)
	t.Cleanup(func() {
		s.Close()
		s.memory.Close()
		s.must(s.root.Close())
	})
	return s
}

func (s *stage) path(names ...string) string {
	return filepath.Join(append([]string{s.top}, names...)...)
}

func (s *stage) must(errs ...error) {
	s.t.Helper()
	if err := errors.Join(errs...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) write(name, text string) {
	s.t.Helper()
	at := s.path(name)
	s.must(os.MkdirAll(filepath.Dir(at), 0o755))
	target, isLink := strings.CutPrefix(text, "->")
	switch {
	case strings.HasSuffix(name, "/"):
		s.must(os.MkdirAll(at, 0o755))
	case isLink:
		s.must(os.Symlink(target, at))
	default:
		s.must(os.WriteFile(at, []byte(text), 0o644))
	}
}

func (s *stage) dir(name string) *os.File {
	s.t.Helper()
	s.must(os.MkdirAll(s.path(name), 0o755))
	fd, err := unix.Open(s.path(name), unix.O_PATH|unix.O_CLOEXEC, 0)
	s.must(err)
	f := os.NewFile(uintptr(fd), name)
	s.t.Cleanup(func() { f.Close() })
	return f
}

// names are the targets, in the order in which they are mounted.
func (s *stage) names() []string {
	var list []string
	for _, a := range s.List {
		list = append(list, a.Name)
	}
	return list
}

// find gives the attachment at a path.
func (s *stage) find(name string) mounts.Attachment {
	s.t.Helper()
	i := slices.Index(s.names(), name)
	if i < 0 {
		s.t.Fatalf("nothing is mounted at %s, only at %v", name, s.names())
	}
	return s.List[i]
}

// in gives the path of a file in a detached mount.
func in(mount *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", mount.Fd(), name)
}

func (s *stage) text(path, want string) {
	s.t.Helper()
	if text, err := os.ReadFile(path); string(text) != want {
		s.t.Errorf("%s has %q (%v), want %q", path, text, err, want)
	}
}

func TestTargets(t *testing.T) {
	for target, want := range map[string]string{
		"/a/../b/": "b", "/dev/x": "dev/x", "/devices": "devices", "/process": "process", "/etc/hosts": "etc/hosts",
		"a": "", "/": "", "/..": "", "/dev": "", "/dev/": "", "/proc": "", "/proc/1": "", "/sys/x": "", "": "",
	} {
		if got, err := mounts.CleanTarget(target); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", target, got, err)
		}
	}
}

func TestOuterMountsComeFirst(t *testing.T) {
	s := newStage(t, false, map[string]string{"a/b/": "", "lib": "->usr/lib", "usr/lib/": ""})
	s.must(s.Make([]step.Mount{
		{Target: "/a/b/c", Source: s.dir("c")}, {Target: "/lib/x", Source: s.dir("x")}, {Target: "/a", Source: s.dir("a")},
		{Target: "/new", Source: s.dir("new")},
	}))
	if got, want := s.names(), []string{"a", "new", "usr/lib/x", "a/b/c"}; !slices.Equal(got, want) {
		t.Errorf("mounted in the order %v, want %v", got, want)
	}
	if _, err := os.Stat(s.path("a/b/c")); err != nil {
		t.Errorf("the mount point in another mount: %v", err)
	}
	if entries, err := os.ReadDir(s.path("upper")); err != nil || len(entries) > 0 {
		t.Errorf("the layer has %v (%v)", entries, err)
	}
}

func TestMountPointInAReadOnlySourceIsOnlyShown(t *testing.T) {
	s := newStage(t, false, nil)
	s.write("src/kept", "text")
	s.must(s.Make([]step.Mount{
		{Target: "/src", Source: s.dir("src"), ReadOnly: true},
		{Target: "/src/one", Source: s.dir("one")}, {Target: "/src/two/deep", Source: s.dir("two")},
	}))
	outer := s.find("src").Mount
	s.text(in(outer, "kept"), "text")
	for _, name := range []string{"one", "two/deep"} {
		if st, err := os.Stat(in(outer, name)); err != nil || !st.IsDir() {
			t.Errorf("no mount point for /src/%s: %v", name, err)
		}
	}
	if entries, err := os.ReadDir(s.path("src")); err != nil || len(entries) != 1 {
		t.Errorf("the source has %v (%v)", entries, err)
	}
}

func TestWhatCannotBeMountedIsRefused(t *testing.T) {
	tests := map[string]struct {
		mounts []step.Mount
		text   string
	}{
		"directory over a file": {[]step.Mount{{Target: "/file"}}, "the source is a directory, the image has a file there"},
		"file over a directory": {[]step.Mount{{Target: "/dir", Subpath: "f"}},
			"the source is a file, the image has a directory"},
		"link into the kernel's": {[]step.Mount{{Target: "/null/x"}}, "symbolic link there to /dev"},
		"link to the root":       {[]step.Mount{{Target: "/top"}}, "symbolic link there to /"},
		"no such source":         {[]step.Mount{{Target: "/dir", Subpath: "none"}}, "source: "},
		"pipe":                   {[]step.Mount{{Target: "/dir", Subpath: "pipe"}}, "neither a directory nor a regular file"},
		"unknown kind":           {[]step.Mount{{Target: "/dir", Kind: 7}}, "unknown kind 7"},
		"in another mount's link": {
			[]step.Mount{{Target: "/dir"}, {Target: "/dir/link/x"}}, "a symbolic link leads to it in dir",
		},
		"in another mount's file": {[]step.Mount{{Target: "/dir"}, {Target: "/dir/f"}}, "the image has a file there"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, false, map[string]string{"file": "", "dir/": "", "null": "->/dev", "top": "->/"})
			s.write("src/f", "")
			s.write("src/link", "->/etc")
			s.must(unix.Mkfifo(s.path("src/pipe"), 0o600))
			for i := range test.mounts {
				test.mounts[i].Source = s.dir("src")
			}
			if err := s.Make(test.mounts); err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %q", err, test.text)
			}
		})
	}
}

func TestNoSourceIsRefused(t *testing.T) {
	s := newStage(t, false, nil)
	if err := s.Make([]step.Mount{{Target: "/x"}}); err == nil || !strings.Contains(err.Error(), "no source") {
		t.Errorf("got %v", err)
	}
}

func TestMemoryHasTheModeOfWhatItCovers(t *testing.T) {
	s := newStage(t, false, map[string]string{"private/": ""})
	s.must(os.Chmod(s.path("layer/private"), 0o700))
	s.must(s.Make([]step.Mount{
		{Kind: step.Tmpfs, Target: "/private"}, {Kind: step.Tmpfs, Target: "/new"},
		{Kind: step.Tmpfs, Target: "/asked", Mode: 0o750}, {Kind: step.Tmpfs, Target: "/dev/x"},
		{Kind: step.Tmpfs, Target: "/new/below", Mode: 0o711},
	}))
	for name, want := range map[string]uint32{
		"private": 0o700, "new": 0o1777, "asked": 0o750, "dev/x": 0o1777, "new/below": 0o711,
	} {
		var st unix.Stat_t
		if err := unix.Fstat(int(s.find(name).Mount.Fd()), &st); err != nil || st.Mode != unix.S_IFDIR|want {
			t.Errorf("/%s has the mode %o (%v), want %o", name, st.Mode, err, want)
		}
	}
	if _, err := os.Stat(in(s.find("new").Mount, "below")); err != nil {
		t.Errorf("no mount point in memory: %v", err)
	}
	if _, err := os.Stat(in(s.memory.Dir, "dev/x")); err != nil {
		t.Errorf("no mount point in /dev: %v", err)
	}
}

func TestScratchTakesTheStepsWrites(t *testing.T) {
	s := newStage(t, false, nil)
	s.write("src/file", "old")
	s.must(os.Chmod(s.path("src"), 0o750))
	s.must(s.Make([]step.Mount{
		{Target: "/dir", Source: s.dir("src"), Scratch: s.dir("s1")},
		{Target: "/file", Source: s.dir("src"), Subpath: "file", Scratch: s.dir("s2")},
		{Target: "/ro", Source: s.dir("src"), Scratch: s.dir("s3"), ReadOnly: true},
	}))
	dir, file := s.find("dir").Mount, s.find("file").Mount
	s.text(in(dir, "file"), "old")
	s.must(os.WriteFile(in(dir, "file"), []byte("new"), 0o600), os.WriteFile(in(dir, "more"), nil, 0o600),
		os.WriteFile(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), []byte("newer"), 0o600))
	s.text(in(dir, "file"), "new")
	s.text(s.path("src/file"), "old")
	if _, err := os.Stat(s.path("src/more")); err == nil {
		t.Error("the source was written to")
	}
	if st, err := os.Stat(in(dir, ".")); err != nil || st.Mode().Perm() != 0o750 {
		t.Errorf("the directory is shown with another mode: %v", err)
	}
	if err := os.WriteFile(in(s.find("ro").Mount, "x"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("a read-only mount is writable: %v", err)
	}
}

func TestSocketOfTheCallerCannotBeCopied(t *testing.T) {
	s := newStage(t, false, nil)
	s.dir("src")
	l, err := net.Listen("unix", s.path("src/s"))
	s.must(err)
	defer func() { _ = l.Close() }()
	m := step.Mount{Target: "/s", Source: s.dir("src"), Subpath: "s", Scratch: s.dir("scratch")}
	if err := s.Make([]step.Mount{m}); err == nil || !strings.Contains(err.Error(), "source is a socket") {
		t.Errorf("got %v", err)
	}
	m.Scratch = nil
	s.must(s.Make([]step.Mount{m}))
}

func TestFilesOfAStepAreInNoLayer(t *testing.T) {
	s := newStage(t, false, nil)
	s.must(s.AddFiles([]step.File{
		{Path: "/run/key", Data: []byte("k"), Mode: 0o400, UID: 33, GID: 34}, {Path: "/dev/pipes/script", Data: []byte("s"),
			Mode: 0o755},
		{Path: "/dev/shm/x", Data: []byte("x"), Mode: 0o600},
	}), s.AddSockets([]step.Socket{{Path: "/run/agent", Mode: 0o600, Serve: func(context.Context, net.Conn) {}}}),
		s.Make(nil))
	if got, want := s.names(), []string{"run/key", "run/agent", "dev/shm/x"}; !slices.Equal(got, want) {
		t.Errorf("mounted are %v, want %v", got, want)
	}
	var st unix.Stat_t
	s.must(unix.Fstatat(int(s.memory.Dir.Fd()), s.find("run/key").Memory, &st, 0))
	if st.Mode != unix.S_IFREG|0o400 || st.Uid != 33 || st.Gid != 34 || !s.find("run/key").ReadOnly {
		t.Errorf("the file is %o of %d:%d", st.Mode, st.Uid, st.Gid)
	}
	s.text(in(s.memory.Dir, "dev/pipes/script"), "s")
	if entries, err := os.ReadDir(s.path("upper")); err != nil || len(entries) > 0 {
		t.Errorf("the layer has %v (%v)", entries, err)
	}
	for _, bad := range []step.File{{Path: "relative"}, {Path: "/proc/x"}, {Path: "/run/y", UID: 1<<32 - 1}} {
		if err := s.AddFiles([]step.File{bad}); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestStandardFilesOfAnOverlayAreNotMounted(t *testing.T) {
	s := newStage(t, false, map[string]string{"etc/hosts": "->/dev/null"})
	s.must(s.AddStandard(map[string][]byte{"etc/hosts": []byte("h"), "etc/resolv.conf": nil}), s.Make(nil))
	if got := s.names(); len(got) > 0 {
		t.Errorf("mounted are %v", got)
	}
	s.text(in(s.root.Dir, "etc/resolv.conf"), "")
	if target, err := os.Readlink(in(s.root.Dir, "etc/hosts")); target != "/dev/null" {
		t.Errorf("the image's link leads to %q (%v)", target, err)
	}
}

func TestChangesOfMountedStandardFilesAreKept(t *testing.T) {
	tests := map[string]struct {
		change, want, refused string
	}{
		"unchanged": {"given", "image's", ""},
		"changed":   {"step's", "step's", ""},
		"emptied":   {"", "", ""},
		"too large": {strings.Repeat("x", 1<<20+1), "image's", "it is larger than 1024 KiB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, true, map[string]string{"etc/hosts": "image's"})
			s.must(s.AddStandard(map[string][]byte{"etc/hosts": []byte("given")}), s.Make(nil))
			s.text(in(s.memory.Dir, s.find("etc/hosts").Memory), "given")
			s.must(os.WriteFile(in(s.memory.Dir, "etc/hosts"), []byte(test.change), 0o600))
			err := s.Keep()
			if test.refused == "" && err != nil || test.refused != "" &&
				(err == nil || !strings.Contains(err.Error(), test.refused)) {
				t.Errorf("got %v", err)
			}
			s.text(s.path("layer/etc/hosts"), test.want)
		})
	}
}

func TestViewsOfMounts(t *testing.T) {
	s := newStage(t, false, map[string]string{"bin/sh": "image's", "a/": ""})
	s.write("a/tool", "mount's")
	s.write("b/deep", "deeper mount's")
	s.must(s.AddFiles([]step.File{{Path: "/run/key", Data: []byte("memory's"), Mode: 0o600}}), s.Make([]step.Mount{
		{Target: "/a", Source: s.dir("a")}, {Target: "/a/b", Source: s.dir("b")},
	}))
	for name, want := range map[string]string{
		"bin/sh": "image's", "a/tool": "mount's", "a/b/deep": "deeper mount's", "run/key": "memory's",
	} {
		view, below := s.View(name)
		s.text(in(view, below), want)
	}
}
