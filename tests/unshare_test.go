package tests_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnshareIsTheNamespaceOfABuild(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	if err := s.makeBusybox(); err != nil {
		t.Fatal(err)
	}
	s.write(t, "busybox/Map",
		busyboxfile+"RUN for f in uid_map gid_map; do while read a b c; do echo $a $b $c; done </proc/self/$f; done >/map\n")
	s.build(t, "-f", "busybox/Map", "-o", "type=oci,compression=uncompressed,dest=map.tar", "busybox")
	want := mustFiles(t, s.path("map.tar"))["map"].Head
	if got := s.cooper(t, "unshare", "cat", "/proc/self/uid_map", "/proc/self/gid_map"); got.Code != 0 || want == "" ||
		strings.Join(strings.Fields(got.Stdout), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("status %d, maps %q, in a step %q\n%s", got.Code, got.Stdout, want, got.Stderr)
	}
	var numbers []string
	for line := range strings.Lines(s.cooper(t, "unshare", "--map").Stdout) {
		if fields := strings.Fields(line); fields[0] == "uid" || fields[0] == "gid" {
			numbers = append(numbers, fields[1:]...)
		}
	}
	if strings.Join(numbers, " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("--map says %q, a step %q", numbers, want)
	}
	// What makes a namespace of its own otherwise makes do with this one.
	if r := s.cooper(t, "unshare", suite.cooper, "build", "--no-cache", "-f", "busybox/Map", "busybox"); r.Code != 0 {
		t.Errorf("a build in it: status %d\n%s", r.Code, tail(r.Stderr))
	}
	// Modes count from the namespace that is there.
	r0 := s.cooper(t, "unshare", suite.cooper, "build", "--no-cache", "--progress=plain", "--uidmap=0:7:2", "-f",
		"busybox/Map", "-o", "type=oci,compression=uncompressed,dest=map.tar", "busybox")
	if got := strings.Join(strings.Fields(mustFiles(t, s.path("map.tar"))["map"].Head), " "); r0.Code != 0 ||
		got != "0 7 2 0 7 2" {
		t.Errorf("a build in it with a map: status %d, maps %q\n%s", r0.Code, got, tail(r0.Stderr))
	}
	if d := s.cooper(t, "unshare", suite.cooper, "doctor", "--json").diagnose(t); d.Mode != "nested" {
		t.Errorf("%+v", d)
	}
	// Mounts and IDs are there, and the mount isn't here.
	s.mkdir(t, "mnt")
	r := s.cooper(t, "unshare", "sh", "-c",
		"id -u; id -g; mount -t tmpfs none mnt && touch mnt/f && chown 33:33 mnt/f && stat -c %u mnt/f; findmnt -no PROPAGATION mnt")
	if r.Code != 0 || r.Stdout != "0\n0\n33\nprivate\n" {
		t.Errorf("status %d: %q\n%s", r.Code, r.Stdout, r.Stderr)
	}
	if entries, err := os.ReadDir(s.path("mnt")); err != nil || len(entries) > 0 {
		t.Errorf("mounts come out: %v %v", entries, err)
	}
	s.checkNoLeftovers(t)
}

func TestUnshareRemovesFilesOfSubordinateIDs(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	if r := s.cooper(t, "unshare", "sh", "-ec",
		"mkdir -p tree/a && touch tree/a/f && chown -R 33:44 tree && chmod 700 tree/a"); r.Code != 0 {
		t.Fatalf("status %d\n%s", r.Code, r.Stderr)
	}
	var st unix.Stat_t
	if err := unix.Lstat(s.path("tree/a"), &st); err != nil || int(st.Uid) == s.mode.UID || st.Uid == 33 {
		t.Errorf("the owner on disk is %d: %v", st.Uid, err)
	}
	if r := runCommand(t, s.command("rm", "-rf", "tree")); r.Code == 0 {
		t.Error("the user can remove it as it is")
	}
	if r := s.cooper(t, "unshare", "rm", "-rf", "tree"); r.Code != 0 || r.Stderr != "" {
		t.Errorf("status %d\n%s", r.Code, r.Stderr)
	}
	if _, err := os.Lstat(s.path("tree")); !os.IsNotExist(err) {
		t.Errorf("the tree is still there: %v", err)
	}
}

func TestUnshareHandsOnStatusSignalsAndArguments(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	s.write(t, "plain", "no program\n")
	for _, c := range []struct {
		args   []string
		code   int
		stdout string
		texts  string
	}{
		{[]string{"true"}, 0, "", ""},
		{[]string{"--", "sh", "-c", "exit 42"}, 42, "", ""},
		{[]string{"sh", "-c", "kill -9 $$"}, 137, "", ""},
		{[]string{"echo", "--map", "-x", "--", "-h"}, 0, "--map -x -- -h\n", ""},
		{[]string{"no-such-program"}, 127, "", "no-such-program"},
		{[]string{"./none"}, 127, "", "./none"},
		{[]string{"./plain"}, 126, "", "permission denied"},
		{[]string{"--map", "true"}, 2, "", "--map runs no command"},
		{[]string{"--nonsense"}, 2, "", "nonsense"},
	} {
		r := s.cooper(t, append([]string{"unshare"}, c.args...)...)
		if r.Code != c.code || r.Stdout != c.stdout || !strings.Contains(r.Stderr, c.texts) ||
			(c.texts == "") != (r.Stderr == "") {
			t.Errorf("%q: status %d\n%s%s", c.args, r.Code, r.Stdout, r.Stderr)
		}
	}
	shell := s.command(suite.cooper, "unshare")
	shell.Env = append(shell.Env, "SHELL=")
	shell.Stdin = strings.NewReader("id -u; exit 3\n")
	if r := runCommand(t, shell); r.Code != 3 || r.Stdout != "0\n" {
		t.Errorf("the shell gave status %d, %q\n%s", r.Code, r.Stdout, r.Stderr)
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := s.command(suite.cooper, "unshare", "sh", "-c",
				fmt.Sprintf("trap 'kill $!; exit 77' %d; sleep 100 >/dev/null 2>&1 & echo ready; wait", int(sig)))
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Error(err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait() // the status is looked at
			if code := cmd.ProcessState.ExitCode(); code != 77 {
				t.Errorf("status %d: the command has not got the signal", code)
			}
		})
	}
	s.checkNoLeftovers(t)
}

func TestAsRootUnshareAndWithoutRanges(t *testing.T) {
	t.Parallel()
	root := newSite(t, suite.modes[0])
	root.cooper(t, "unshare", "true").fails(t, 2, "root", "--map")
	root.write(t, "with", "root:600000000:65536\n")
	root.write(t, "without", "nobody-here:600000000:65536\n")
	for name, want := range map[string]string{"with": "uid 0 600000000 65536", "without": "uid 0 0 4294967295"} {
		r := root.inOtherMachine(t, "mount --bind "+root.path(name)+" /etc/subuid; mount --bind "+root.path(name)+
			" /etc/subgid", "unshare", "--map")
		if got := strings.Join(strings.Fields(r.Stdout), " "); r.Code != 0 || !strings.Contains(got, want) {
			t.Errorf("%s ranges: status %d\n%s%s", name, r.Code, r.Stdout, r.Stderr)
		}
	}
	s := newSite(t, ordinary(t))
	s.write(t, "empty", "")
	for _, args := range [][]string{{"unshare", "true"}, {"unshare", "--map"}} {
		s.inOtherMachine(t, "mount --bind "+s.path("empty")+" /etc/subuid", args...).fails(t, 125, "usermod --add-subuids")
	}
}

func TestUnshareTakesItsCommandAlong(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	cmd := s.command(suite.cooper, "unshare", "sh", "-c", "echo ready; exec sleep 1000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	// The command holds the other end of the pipe until it ends.
	if _, err := lines.ReadString('\n'); err == nil {
		t.Error("the command goes on")
	}
	_ = cmd.Wait() // it was killed
	s.checkNoLeftovers(t)
}

func TestUnshareEntersASecondNamespace(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		flags := []string{"unshare", "--uidmap=0:5:3", "--uidmap=7:3:1"}
		if m.UID == 0 {
			flags = []string{"unshare", "--uidmap=0:100005:3", "--uidmap=7:100003:1"}
		}
		const show = "for f in uid_map gid_map; do while read a b c; do echo $a $b $c; done </proc/self/$f; done; id -u; exit 7"
		r := s.cooper(t, append(flags, "sh", "-c", show)...)
		from := strings.Split(flags[1], ":")[1]
		other := strings.Split(flags[2], ":")[1]
		lines := "0 " + from + " 3\n7 " + other + " 1\n"
		if r.Code != 7 || r.Stdout != lines+lines+"0\n" {
			t.Errorf("status %d, %q, and want %q\n%s", r.Code, r.Stdout, lines+lines+"0\n", r.Stderr)
		}
		for _, bad := range []struct{ flag, message string }{
			{"--uidmap=5:0:1", "no container ID 0 for users, and unshare runs its command as root"},
			{"--userns=auto", "only a build has an image"},
			{"--userns=ns:/proc/self/ns/user", "nsenter --user=/proc/self/ns/user"},
			{"--userns=bogus", "must be host, private"},
		} {
			r := s.cooper(t, "unshare", bad.flag, "true")
			if r.Code != 2 || !strings.Contains(r.Stderr, bad.message) {
				t.Errorf("%s: status %d, and want 2 with %q in\n%s", bad.flag, r.Code, bad.message, r.Stderr)
			}
		}
	})
}
