package tests_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inOtherMachine runs a shell script as root in its own mount namespace, and then cooper as the site's user: the script
// changes what that cooper sees of the machine.
func (s *site) inOtherMachine(t *testing.T, script string, args ...string) result {
	t.Helper()
	words := []string{"--mount", "--propagation", "private", "sh", "-ec", script + "\nexec \"$@\"", "sh"}
	cmd := exec.Command("unshare", append(words, s.asUser(append([]string{suite.cooper}, args...))...)...)
	cmd.Dir, cmd.Env = s.dir, s.env
	return runCommand(t, cmd)
}

// asUser is the command line by which root starts a command as the site's user.
func (s *site) asUser(command []string) []string {
	if s.mode.root() {
		return command
	}
	return append([]string{"setpriv", fmt.Sprintf("--reuid=%d", s.mode.UID), fmt.Sprintf("--regid=%d", s.mode.GID),
		"--clear-groups", "--"}, command...)
}

// succeeds checks that the status is 0.
func (r result) succeeds(t *testing.T) {
	t.Helper()
	if r.Code != 0 {
		t.Errorf("status %d\n%s", r.Code, tail(r.Stderr))
	}
}

// fails checks a status and the texts of the one error message.
func (r result) fails(t *testing.T, code int, texts ...string) {
	t.Helper()
	if r.Code != code {
		t.Errorf("status %d, not %d\n%s", r.Code, code, tail(r.Stderr))
	}
	for _, text := range texts {
		if !strings.Contains(r.Stderr, text) {
			t.Errorf("no %q in the message:\n%s", text, tail(r.Stderr))
		}
	}
	if n := strings.Count("\n"+r.Stderr, "\ncooper: "); n != 1 {
		t.Errorf("%d error messages, not 1:\n%s", n, tail(r.Stderr))
	}
	if strings.Contains(r.Stderr, "goroutine ") {
		t.Errorf("cooper crashed:\n%s", tail(r.Stderr))
	}
}

func TestAsRootMachineWithoutUserNamespaces(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY Containerfile /\n")
	empty := "mount --bind " + s.path("empty") + " "
	s.write(t, "empty", "")
	for _, c := range []struct {
		name, script string
		want         []string
	}{
		{"no line for the user", empty + "/etc/subuid; " + empty + "/etc/subgid",
			[]string{"usermod --add-subuids", s.mode.User}},
		{"no line in subgid", empty + "/etc/subgid", []string{"usermod", "--add-subgids", s.mode.User}},
		{"newuidmap not executable", empty + "$(command -v newuidmap); " + empty + "$(command -v newgidmap)",
			[]string{"newuidmap"}},
		{"newuidmap without its bit", fmt.Sprintf(
			"cp $(command -v newuidmap) %[1]s/plain; chmod 755 %[1]s/plain; mount --bind %[1]s/plain $(command -v newuidmap)",
			s.path("tmp")),
			[]string{"newuidmap", "chmod u+s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.inOtherMachine(t, c.script, "build", "-t", "never", "ctx").fails(t, 125, c.want...)
			s.checkNoLeftovers(t)
		})
	}
	// A nested namespace can be told to have none below it.
	t.Run("max_user_namespaces", func(t *testing.T) {
		cmd := s.command("unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c",
			`echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"`, "sh", suite.cooper, "build", "ctx")
		runCommand(t, cmd).fails(t, 125, "max_user_namespaces")
	})
}

// TestAsRootRangeTooShort names all IDs that don't fit, when they are made by steps and when they come with a base.
func TestAsRootRangeTooShort(t *testing.T) {
	t.Parallel()
	m := ordinary(t)
	whole := newSite(t, m)
	whole.busybox(t, "base")
	address, _ := whole.startRegistry(t)
	whole.write(t, "big/Containerfile",
		"FROM base\nRUN mkdir /a && chown 65534:65534 /a && touch /b && chown 4000:5000 /b\n")
	whole.build(t, "-t", "big", "-o", "type=oci,dest=big.tar", "big")
	name := address + "/lib/big:1"
	whole.run(t, "skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "oci-archive:big.tar",
		"docker://"+name)

	s := newSite(t, m)
	s.write(t, "subids", fmt.Sprintf("%s:500000000:2000\n", m.User))
	short := "mount --bind " + s.path("subids") + " /etc/subuid; mount --bind " + s.path("subids") + " /etc/subgid"
	s.write(t, "ctx/Containerfile", "FROM "+name+"\nRUN true\n")
	r := s.inOtherMachine(t, short, "build", "--tls-verify=false", "-t", "never", "ctx")
	r.fails(t, 125, "65534", "4000", "5000", "usermod --add-subuids")
	s.checkNoLeftovers(t)

	// What fits still works.
	if err := s.makeBusybox(); err != nil {
		t.Fatal(err)
	}
	s.write(t, "busybox/Fits", busyboxfile+"RUN touch /f && chown 1999:1999 /f\n")
	if r := s.inOtherMachine(t, short, "build", "-f", "busybox/Fits", "busybox"); r.Code != 0 {
		t.Errorf("status %d\n%s", r.Code, tail(r.Stderr))
	}
	s.write(t, "busybox/Copy", "FROM scratch\nCOPY --chown=70000:70000 etc /etc\n")
	s.inOtherMachine(t, short, "build", "-f", "busybox/Copy", "busybox").fails(t, 125, "70000", "--add-subuids",
		"--add-subgids")
	s.checkNoLeftovers(t)
}

// TestAsRootWithAndWithoutRanges builds the same image as root with and without subordinate IDs.
func TestAsRootWithAndWithoutRanges(t *testing.T) {
	t.Parallel()
	s := newSite(t, suite.modes[0])
	if err := s.makeBusybox(); err != nil {
		t.Fatal(err)
	}
	s.write(t, "busybox/Map", busyboxfile+"RUN touch /f && chown 33:50 /f\nRUN cat /proc/self/uid_map >&2\n")
	s.write(t, "with", "root:600000000:65536\n")
	s.write(t, "without", "nobody-here:600000000:65536\n")
	for name, want := range map[string]string{"with": "600000000", "without": "4294967295"} {
		script := "mount --bind " + s.path(name) + " /etc/subuid; mount --bind " + s.path(name) + " /etc/subgid"
		r := s.inOtherMachine(t, script, "build", "--no-cache", "--progress=plain", "-f", "busybox/Map", "-o",
			"type=oci,dest="+name+".tar", "busybox")
		if r.Code != 0 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: status %d, wanted %s in\n%s", name, r.Code, want, tail(r.Stderr))
			continue
		}
		if said := strings.Count(r.Stderr, "/etc/subuid"); (name == "without") != (said == 1) {
			t.Errorf("%s: /etc/subuid is mentioned %d times\n%s", name, said, tail(r.Stderr))
		}
		if f := mustFiles(t, s.path(name+".tar"))["f"]; f.Header == nil || f.Header.Uid != 33 || f.Header.Gid != 50 {
			t.Errorf("%s: %s", name, f.stringOrNone(f.Header != nil))
		}
	}
	s.checkNoLeftovers(t)
}

// smallDisk mounts a file system of so many MiB and inodes at the site's "disk" until the test ends. It has no journal,
// which could take it all.
func (s *site) smallDisk(t *testing.T, size, inodes int) {
	t.Helper()
	s.mkdir(t, "disk")
	if err := errors.Join(os.WriteFile(s.path("disk.img"), nil, 0o600),
		os.Truncate(s.path("disk.img"), int64(size)<<20)); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{
		{"mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", "-N", strconv.Itoa(inodes), s.path("disk.img")},
		{"mount", "-o", "loop", s.path("disk.img"), s.path("disk")},
		{"chown", fmt.Sprintf("%d:%d", s.mode.UID, s.mode.GID), s.path("disk")},
	} {
		if err := tool(c[0], c[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := tool("umount", "-l", s.path("disk")); err != nil {
			t.Error(err)
		}
	})
}

// inodes are how many inodes of the site's disk are in use, and how many of them have a name.
func (s *site) inodes(t *testing.T) (used, named int) {
	t.Helper()
	var all unix.Statfs_t
	if err := unix.Statfs(s.path("disk"), &all); err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	err := filepath.WalkDir(s.path("disk"), func(path string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err = errors.Join(err, unix.Lstat(path, &st)); err == nil {
			seen[st.Ino] = true
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) { // it has gone meanwhile
		t.Fatal(err)
	}
	return int(all.Files - all.Ffree), len(seen)
}

// waitForRoom waits until the disk has back what a failed build took of it: the kernel keeps files that were removed
// until it has taken down the mounts of the step that wrote them, which it does in its own time. own are the inodes
// that the file system has for itself.
func (s *site) waitForRoom(t *testing.T, own int) {
	t.Helper()
	var used, named int
	eventually(t, func() string { return fmt.Sprintf("%d inodes are in use, %d have a name", used, named) }, func() bool {
		used, named = s.inodes(t)
		return used-own == named
	})
}

// TestAsRootFullDisk fails with one error, and works again when there is room.
func TestAsRootFullDisk(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.smallDisk(t, 40, 10000)
		used, named := s.inodes(t)
		own := used - named
		if err := s.makeBusybox(); err != nil {
			t.Fatal(err)
		}
		store := []string{"build", "--root", s.path("disk/store"), "--runroot", s.path("run/disk"), "-t", "app"}
		// What is below is in the cache: else the disk may be full before that is committed, which is another error.
		s.write(t, "busybox/Below", busyboxfile)
		if r := s.cooper(t, append(store, "-f", "busybox/Below", "busybox")...); r.Code != 0 {
			t.Fatal(r.Stderr)
		}
		s.write(t, "busybox/Full", busyboxfile+"RUN dd if=/dev/zero of=/big bs=1M count=100\n")
		s.write(t, "busybox/FullCopy", "FROM scratch\nCOPY big /big\n")
		if err := os.WriteFile(s.path("busybox/big"), make([]byte, 60<<20), 0o644); err != nil {
			t.Fatal(err)
		}
		s.cooper(t, append(store, "-f", "busybox/Full", "busybox")...).fails(t, 1, "No space left", "Full:",
			"is full: cooper prune")
		s.waitForRoom(t, own)
		s.write(t, "busybox/NoInodes", busyboxfile+"RUN for i in $(seq 20000); do echo >/$i || exit 7; done\n")
		s.cooper(t, append(store, "-f", "busybox/NoInodes", "busybox")...).fails(t, 1, "status 7",
			"has no inodes left: cooper prune")
		s.waitForRoom(t, own)
		s.write(t, "busybox/Other", busyboxfile+"RUN exit 7\n")
		if r := s.cooper(t, append(store, "-f", "busybox/Other", "busybox")...); strings.Contains(r.Stderr, "is full") {
			t.Errorf("the disk isn't:\n%s", tail(r.Stderr))
		}
		s.cooper(t, append(store, "-f", "busybox/FullCopy", "busybox")...).fails(t, 125, "is full", "FullCopy:2",
			"cooper prune")
		s.waitForRoom(t, own)
		s.write(t, "busybox/Out", "FROM scratch\nCOPY busybox /b\n")
		r := s.cooper(t, append(store, "-f", "busybox/Out", "busybox")...)
		if r.Code != 0 {
			t.Errorf("with room again: status %d\n%s", r.Code, tail(r.Stderr))
		}
		if entries, err := os.ReadDir(s.path("disk/store/cooper/tmp")); err != nil || len(entries) > 0 {
			t.Errorf("left in the store: %v %v", entries, err)
		}
		// An archive that doesn't fit is not there at all.
		filler, err := os.Create(s.path("disk/filler"))
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = filler.Write(make([]byte, 64<<10))
		}
		if err := filler.Close(); err != nil {
			t.Log(err)
		}
		s.build(t, "-t", "plain", "-f", "busybox/Out", "busybox")
		s.cooper(t, "build", "-f", "busybox/Out", "-o", "type=oci,dest="+s.path("disk/app.tar"), "busybox").fails(t, 125,
			"app.tar", "no space left")
		if _, err := os.Stat(s.path("disk/app.tar")); err == nil {
			t.Error("half an archive was left")
		}
	})
}

func TestAsRootUnwritableStore(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY Containerfile /\n")
	if err := os.Mkdir(s.path("locked"), 0o555); err != nil {
		t.Fatal(err)
	}
	s.cooper(t, "build", "--root", s.path("locked/store"), "ctx").fails(t, 125, s.path("locked"), "hint")
	if err := os.WriteFile(s.path("file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.cooper(t, "build", "--root", s.path("file/store"), "ctx").fails(t, 125, s.path("file"), "it must be a directory")
	r := s.inOtherMachine(t, "mount -t tmpfs none "+s.path("tmp")+"; mkdir -m 777 "+s.path("tmp/s")+
		"; mount -o remount,ro "+s.path("tmp"),
		"build", "--root", s.path("tmp/s"), "ctx")
	r.fails(t, 125, s.path("tmp/s"), "read-only")
	s.cooper(t, "build", "--storage-driver", "nonsense", "--root", s.path("other"), "ctx").fails(t, 2, "nonsense",
		"must be overlay or vfs")
}
