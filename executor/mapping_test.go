package executor_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/userns"
)

func mountOverlay(b *box, r executor.Rootfs) *os.File {
	b.t.Helper()
	view, err := overlay.Mount(overlay.Options{Lower: r.Lower, Upper: r.Upper, Work: b.dir("outer-work"),
		UserXattr: r.UserXattr})
	b.must(err)
	return view
}

func checkOwner(t *testing.T, path string, uid, gid uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Uid != uid || st.Gid != gid {
		t.Errorf("%s belongs to %d:%d, want %d:%d (%v)", path, st.Uid, st.Gid, uid, gid, err)
	}
}

func TestAsRootMappingKeepsContainerIDsOnDisk(t *testing.T) {
	b := newBox(t)
	b.write("layer/owned", "x")
	b.must(os.Chown(b.path("layer/owned"), 33, 34))
	s := b.sh(`cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; stat -c %u:%g /owned /bin/sh /etc/hosts /dev /dev/shm /proc/self/;
		touch /root-file; chown 7:8 /owned; mkdir -p /d/e; su alice -c 'touch /tmp/alice'; id -u; readlink /proc/self/ns/user`)
	s.Args[2] = strings.Replace(s.Args[2], "| tr -s ' '", "", 1)
	s.Mapping = testMapping(t)
	out := b.output(s)
	lines := strings.Fields(out)
	want := "0 300000 65536 0 400000 65536 33:34 0:0 0:0 0:0 0:0 0:0 0"
	if got := strings.Join(lines[:len(lines)-1], " "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if own, _ := os.Readlink("/proc/self/ns/user"); own == lines[len(lines)-1] {
		t.Error("the step is in the caller's user namespace")
	}
	checkOwner(t, b.path("upper/root-file"), 0, 0)
	checkOwner(t, b.path("upper/owned"), 7, 8)
	checkOwner(t, b.path("upper/d/e"), 0, 0)
	checkOwner(t, b.path("upper/tmp/alice"), 1000, 1001)
	checkOwner(t, b.path("layer/owned"), 33, 34)
}

func TestAsRootMappingOfUsersAndCapabilities(t *testing.T) {
	b := newBox(t)
	for user, want := range map[string]string{
		"root": "0 a80425fb a80425fb a80425fb", "alice": "1000 0 0 a80425fb",
	} {
		s := b.sh("echo $(id -u) $(grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2)")
		s.User, s.Mapping = user, testMapping(t)
		got := strings.ReplaceAll(strings.TrimSpace(b.output(s)), "00000000a8", "a8")
		if got = strings.ReplaceAll(got, "0000000000000000", "0"); got != want {
			t.Errorf("%s: %s", user, got)
		}
	}
	s := b.step("/bin/true")
	s.User, s.Mapping = "70000", testMapping(t)
	var unmapped *userns.UnmappedError
	if _, _, err := b.run(s); !errors.As(err, &unmapped) {
		t.Errorf("%v", err)
	}
}

func TestAsRootMappingOfMounts(t *testing.T) {
	b := newBox(t)
	mapping := testMapping(t)
	b.write("cache/old", "x")
	b.must(os.Chown(b.path("cache/old"), 1000, 1001))
	b.write("l1/a", "x")
	b.write("l2/b", "x")
	b.must(os.Chown(b.path("l1/a"), 44, 45))
	view, err := overlay.Mount(overlay.Options{Lower: []*os.File{b.dir("l2"), b.dir("l1")}, IDMap: mapping})
	b.must(err)
	defer view.Close()
	s := b.sh("for f in /cache/old /view/a /rw/a /t /disc/old; do echo $(stat -c %u:%g $f); done; touch /cache/new /rw/new /view/x/y /disc/new; chown 5:6 /rw/a")
	s.Mapping = mapping
	s.Mounts = []executor.Mount{
		{Source: b.dir("cache"), Target: "/cache"},
		{Source: view, Target: "/view", ReadOnly: true, IDMapped: true},
		{Kind: executor.Tmpfs, Target: "/view/x"},
		{Source: view, Target: "/rw", Scratch: b.dir("s1"), IDMapped: true},
		{Source: b.dir("cache"), Target: "/disc", Scratch: b.dir("s2")},
		{Kind: executor.Tmpfs, Target: "/t"},
	}
	if got := strings.Fields(b.output(s)); strings.Join(got, " ") != "1000:1001 44:45 44:45 0:0 1000:1001" {
		t.Errorf("%s", got)
	}
	checkOwner(t, b.path("cache/new"), 0, 0)
	checkOwner(t, b.path("s1/upper/new"), 0, 0)
	checkOwner(t, b.path("s1/upper/a"), 5, 6)
	checkOwner(t, b.path("s2/upper/new"), 0, 0)
	b.checkUpper()
}

func TestAsRootMappingNeedsAFileSystemThatMaps(t *testing.T) {
	b := newBox(t)
	proc, err := os.OpenFile("/proc/self", unix.O_PATH, 0)
	b.must(err)
	defer proc.Close()
	s := b.step("/bin/true")
	s.Mapping = testMapping(t)
	s.Mounts = []executor.Mount{{Source: proc, Target: "/m", ReadOnly: true}}
	if _, _, err := b.run(s); !errors.Is(err, overlay.ErrNoIDMap) {
		t.Errorf("%v", err)
	}
}

func TestAsRootMappingWithHiddenMountPoints(t *testing.T) {
	b := newBox(t)
	b.dir("layer/proc")
	b.dir("top")
	b.must(unix.Mknod(b.path("top/proc"), unix.S_IFCHR, 0))
	s := b.sh("stat -c %u /proc/self/; echo x > /etc/x")
	s.Mapping = testMapping(t)
	s.Rootfs.Lower = append([]*os.File{b.dir("top")}, s.Rootfs.Lower...)
	if got := b.output(s); got != "0\n" {
		t.Errorf("%q", got)
	}
	b.checkUpper("etc", "etc/x")
}

func TestAsRootMappingWithDirectoryAsRoot(t *testing.T) {
	b := newBox(t)
	s := b.sh("touch /x; stat -c %u /x /etc/passwd; ls -d /proc/1")
	s.Mapping = testMapping(t)
	s.Rootfs = executor.Rootfs{Dir: b.dir("layer")}
	if got := b.output(s); got != "0\n0\n/proc/1\n" {
		t.Errorf("%q", got)
	}
	checkOwner(t, b.path("layer/x"), 0, 0)
	if _, err := os.Lstat(b.path("layer/proc")); err == nil {
		t.Error("mount point left")
	}
}

func BenchmarkAsRootRunTrueMapped(b *testing.B) {
	box := newBox(b)
	s := box.step("/bin/true")
	s.Mapping = testMapping(b)
	for b.Loop() {
		if _, status, err := box.run(s); err != nil || status.ExitCode != 0 {
			b.Fatal(fmt.Sprint(status, err))
		}
	}
}

// nestedMapping is a map of IDs that the user namespace of the tests has, too.
func nestedMapping(t testing.TB) *userns.Mapping {
	t.Helper()
	ids, err := userns.NewMap(userns.Range{Container: 0, Host: 1000, Length: 5000})
	if err != nil {
		t.Fatal(err)
	}
	return &userns.Mapping{UIDs: ids, GIDs: ids}
}

func TestShiftedStepSeesTheMapAndWritesItsOwners(t *testing.T) {
	b := newBox(t)
	s := b.sh(`cat /proc/self/uid_map; for f in /owned /bin/sh /etc/hosts /dev /dev/shm /proc/self/ /t /proc /sys; do stat -c %u:%g $f; done;
		touch /root-file; chown 7:8 /owned; mkdir /d; mount -t tmpfs none /mnt 2>&1 | grep -c denied; id -u`)
	s.Mapping, s.Shifted = nestedMapping(t), true
	s.Mounts = []executor.Mount{{Kind: executor.Tmpfs, Target: "/t"}}
	b.write("layer/owned", "x")
	b.must(filepath.WalkDir(b.path("layer"), func(p string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(p, 1000, 1000))
	}))
	b.must(os.Chown(b.path("layer/owned"), 1033, 1034))
	b.must(os.Chown(b.dir("upper").Name(), 1000, 1000))
	got := strings.Join(strings.Fields(b.output(s)), " ")
	if want := "0 1000 5000 33:34 0:0 0:0 0:0 0:0 0:0 0:0"; !strings.HasPrefix(got, want) {
		t.Errorf("%s\nwant %s", got, want)
	}
	checkOwner(t, b.path("upper/root-file"), 1000, 1000)
	checkOwner(t, b.path("upper/owned"), 1007, 1008)
	checkOwner(t, b.path("upper/d"), 1000, 1000)
}

func TestShiftedStepCannotOpenFilesOfNobody(t *testing.T) {
	b := newBox(t)
	b.write("v/secret", "x")
	b.must(os.Chmod(b.path("v/secret"), 0o600))
	s := b.sh("stat -c %u:%g /v/secret; cat /v/secret 2>&1 && echo read; grep CapEff /proc/self/status")
	s.Mapping, s.Shifted = nestedMapping(t), true
	s.Mounts = []executor.Mount{{Source: b.dir("v"), Target: "/v"}}
	out := b.output(s)
	if !strings.HasPrefix(out, "65534:65534\n") || strings.Contains(out, "read\n") ||
		!strings.Contains(out, "ermission denied") {
		t.Error(out)
	}
}
