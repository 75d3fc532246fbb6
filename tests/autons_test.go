package tests_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/internal/flock"
)

// A waitingBuild is a build whose step has shown its user map and now waits for a file of the directory that it has as
// /v.
type waitingBuild struct {
	cmd *exec.Cmd
	out *bytes.Buffer
	// from and length are its range, in intermediate IDs.
	from, length int
}

func startAuto(t *testing.T, s *site, name string, flags ...string) *waitingBuild {
	t.Helper()
	return startWaiting(t, s, name, append([]string{"--userns=auto"}, flags...)...)
}

// startWaiting starts a build of waitFile, or of a file with a step that does the same.
func startWaiting(t *testing.T, s *site, name string, flags ...string) *waitingBuild {
	t.Helper()
	dir := "v/" + name
	s.mkdir(t, dir)
	if err := os.Chmod(s.path(dir), 0o777); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"build", "--no-cache", "-v", s.path(dir) + ":/v"}, append(flags, "wait")...)
	b := &waitingBuild{cmd: s.command(suite.cooper, args...), out: new(bytes.Buffer)}
	b.cmd.Stdout, b.cmd.Stderr = b.out, b.out
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(patience)
	for {
		text, err := os.ReadFile(s.path(dir + "/map"))
		var inside int
		if n, _ := fmt.Sscan(string(text), &inside, &b.from, &b.length); err == nil && n == 3 {
			return b
		}
		if time.Now().After(end) {
			_ = b.cmd.Process.Kill()
			_ = b.cmd.Wait()
			t.Fatalf("the step of %s never started\n%s", name, b.out)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// finish lets the step end.
func (b *waitingBuild) finish(t *testing.T, s *site, name string) {
	t.Helper()
	s.write(t, "v/"+name+"/go", "")
	if err := b.cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, b.out)
	}
}

// waitStep ends in any case, also in a build that was killed.
const waitStep = `
RUN cat /proc/self/uid_map >/v/map.new && mv /v/map.new /v/map; for i in $(seq 12000); do [ -e /v/go ] && exit 0; sleep 0.05; done; exit 1
`

const waitFile = "FROM base" + waitStep

func TestAutoGivesEachBuildItsOwnRange(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "wait/Containerfile", waitFile)
		one, two := startAuto(t, s, "one"), startAuto(t, s, "two", "--build-arg=x=y")
		if one.length != 1024 || two.length != 1024 || one.from == 0 || two.from != one.from+1024 {
			t.Errorf("the ranges are %d+%d and %d+%d", one.from, one.length, two.from, two.length)
		}
		if err := one.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = one.cmd.Wait() // it was killed
		s.waitLive(t, 1)
		three := startAuto(t, s, "three")
		if three.from != one.from {
			t.Errorf("the range of a killed build, %d, was not given back: the next is %d", one.from, three.from)
		}
		two.finish(t, s, "two")
		three.finish(t, s, "three")
		s.run(t, "podman", "create", "--name=plain", "base", "true")
		s.run(t, "podman", "create", "--name=c", fmt.Sprintf("--uidmap=0:%d:500", one.from),
			fmt.Sprintf("--gidmap=0:%d:500", one.from), "base", "true")
		four := startAuto(t, s, "four")
		if four.from != one.from+500 {
			t.Errorf("a container has %d to %d, and the build from %d", one.from, one.from+499, four.from)
		}
		four.finish(t, s, "four")
		s.run(t, "podman", "rm", "c", "plain")
		if left, err := os.ReadDir(filepath.Join(s.store(), "cooper/userns")); err != nil || len(left) > 0 {
			t.Errorf("left: %v %v", left, err)
		}
		s.checkNoLeftovers(t)
	})
}

// waitLive waits until at most n builds that live have ranges.
func (s *site) waitLive(t *testing.T, n int) {
	t.Helper()
	eventually(t, func() string { return fmt.Sprintf("more than %d builds have ranges", n) }, func() bool {
		locked := 0
		names, err := filepath.Glob(filepath.Join(s.store(), "cooper/userns/*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			f, err := os.Open(name)
			if err != nil {
				continue
			}
			if got, err := flock.Try(f, flock.Exclusive); err != nil {
				t.Error(err)
			} else if !got {
				locked++
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		return locked <= n
	})
}

func TestAutoGivesTheSameImage(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.env = append(s.env, "SOURCE_DATE_EPOCH=1000000000")
		s.busybox(t, "base")
		// The size grows within the build: no layer has owner 2000 before the second step, nor 4000 before the last.
		s.write(t, "ctx/Containerfile",
			"FROM base\nRUN echo >/a && chown 1000:33 /a\nCOPY --chown=2000:1 Containerfile /c\nRUN [ $(stat -c %u:%g /c) = 2000:1 ] && echo >/b && chown 1999:2000 /b\n"+
				"USER 4000\nRUN id -u\n")
		want := s.build(t, "-q", "--no-cache", "--userns=host", "ctx")
		for _, flags := range [][]string{
			{"--userns=auto"}, {"--userns=auto:size=5000"}, {"--userns=auto:size=5000,uidmapping=0:1500000000:1"},
			{"--userns=auto", "--isolation=oci", "--runtime=crun"},
		} {
			if strings.Contains(flags[0], "uidmapping") && !s.mode.root() {
				flags[0] = strings.Replace(flags[0], "1500000000", "0", 1)
			}
			if got := s.build(t, append([]string{"-q", "--no-cache"}, append(flags, "ctx")...)...); got != want {
				t.Errorf("%v: %s, not %s", flags, got, want)
			}
		}
		s.write(t, "wait/Containerfile", waitFile)
		other := startAuto(t, s, "other") // so that the next build has another range than the one before
		again := s.cooper(t, "build", "--progress=plain", "--userns=auto", "ctx")
		if strings.TrimSpace(again.Stdout) != want || strings.Count(again.Stderr, "CACHED") < 3 {
			t.Errorf("the second build is not from the cache:\n%s", again.Stderr)
		}
		other.finish(t, s, "other")
		s.build(t, "--storage-driver=vfs", "--root", s.path("vfs"), "-q", "-t", "base", "-f", s.path("busybox/Base"),
			s.path("busybox"))
		if got := s.build(t, "--storage-driver=vfs", "--root", s.path("vfs"), "-q", "--userns=auto", "ctx"); got != want {
			t.Errorf("vfs: %s, not %s", got, want)
		}
	})
}

func TestAutoAgainstHostileImages(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		for name, make := range map[string]string{
			"link":   "ln -sf ../../../../../etc/shadow /etc/passwd; ln -sf /proc/self/root/etc/group /etc/group",
			"loop":   "ln -sf passwd /etc/passwd; rm -f /etc/group; mkdir /etc/group",
			"pipe":   "rm -f /etc/passwd /etc/group; mkfifo /etc/passwd /etc/group",
			"big":    "head -c 2097152 /dev/zero | tr '\\0' 'x' >/etc/passwd; for i in $(seq 1000); do echo ::::::; done >/etc/group",
			"absurd": "echo 'a:x:4294967295:4294967295::/:' >/etc/passwd; echo 'b:x:4294967294:' >>/etc/group; echo 'c:x:-1:' >>/etc/group; echo 'd:x:99999999999999999999:' >>/etc/group",
		} {
			s.write(t, name+"/Containerfile", "FROM base\nRUN "+make+"\nUSER 0:0\nRUN echo map $(cat /proc/self/uid_map) >&2\n")
			host := s.cooper(t, "build", "--progress=plain", "--no-cache", "--userns=host", name)
			r := s.cooper(t, "build", "--progress=plain", "--no-cache", "--userns=auto", name)
			// A step whose user can't be looked up fails in every mode.
			if r.Code != host.Code || r.Code != 0 && r.Code != 1 || r.Code == 0 &&
				!strings.HasSuffix(mapLine(r.Stderr), " 1024") {
				t.Errorf("%s: status %d, %d on the host\n%s", name, r.Code, host.Code, tail(r.Stderr))
			}
		}
	})
}

// mapLine is the line that begins with "map 0" in a build's output.
func mapLine(text string) string {
	_, line, _ := strings.Cut(text, "map 0")
	line, _, _ = strings.Cut(line, "\n")
	return line
}

func TestAutoThatCannotBe(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "owned/Containerfile", "FROM base\nRUN echo >/far && chown 2000:2000 /far\n")
		s.build(t, "-q", "-t", "owned", "owned")
		s.write(t, "ctx/Containerfile", "FROM owned\nRUN true\n")
		s.cooper(t, "build", "--userns=auto:size=1500", "ctx").fails(t, 1, `"/far"`, "2000", "size=2001")
		s.write(t, "user/Containerfile", "FROM base\nUSER 3000\nRUN true\n")
		s.cooper(t, "build", "--userns=auto:size=1500", "user").fails(t, 1, "user", "3000", "size=3001")
		s.cooper(t, "build", "--userns=auto:size=1000000", "ctx").fails(t, 125, "1000000 in a row", "usermod")
	})
}
