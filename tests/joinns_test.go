package tests_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// joinFile shows in which namespace a step is, and makes files of several owners.
const joinFile = `FROM base
RUN cat /proc/self/uid_map >&2 && readlink /proc/self/ns/user >&2 && echo x >/f && chown 33:34 /f && stat -c %u:%g /bin/busybox >&2
USER 1000:1001
RUN id -u >&2
`

// holdNamespace gives a process that is in a new user namespace until the test ends.
func holdNamespace(t *testing.T, attr *syscall.SysProcAttr) int {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.SysProcAttr = attr
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stdin.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return cmd.Process.Pid
}

// newNamespace are the attributes of a process in a new user namespace, for both kinds of IDs the same.
func newNamespace(first, from, length int) *syscall.SysProcAttr {
	ids := []syscall.SysProcIDMap{{ContainerID: first, HostID: from, Size: length}}
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids,
		GidMappingsEnableSetgroups: true}
}

func userNSOf(t *testing.T, pid int) (path, link string) {
	t.Helper()
	path = fmt.Sprintf("/proc/%d/ns/user", pid)
	link, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, link
}

// joinSite is a site with joinFile, and the image that it gives without a second namespace.
func joinSite(t *testing.T, m mode) (s *site, image string) {
	t.Helper()
	s = newSite(t, m)
	s.env = append(s.env, "SOURCE_DATE_EPOCH=1000000000")
	s.busybox(t, "base")
	s.write(t, "ctx/Containerfile", joinFile)
	return s, s.build(t, "-q", "--no-cache", "--userns=host", "ctx")
}

func TestAsRootStepsJoinANamespace(t *testing.T) {
	t.Parallel()
	for _, m := range suite.modes {
		if !m.root() || os.Getuid() != 0 {
			continue
		}
		s, image := joinSite(t, m)
		path, link := userNSOf(t, holdNamespace(t, newNamespace(0, 600000, 65536)))
		for _, how := range backEnds() {
			r := s.cooper(t, "build", "--progress=plain", "--no-cache", how, "--userns=ns:"+path, "ctx")
			if seen := strings.Join(strings.Fields(r.Stderr), " "); r.Code != 0 || !strings.Contains(seen, " 0 600000 65536 ") ||
				!strings.Contains(seen, link) ||
				!strings.Contains(seen, " 0:0 ") || !strings.Contains(seen, " 1000 ") {
				t.Errorf("%s: status %d, namespace %s\n%s", how, r.Code, link, r.Stderr)
			}
			if got := strings.TrimSpace(r.Stdout); got != image {
				t.Errorf("%s: the image is %s, without a namespace %s", how, got, image)
			}
		}
		// The key has the map and not the path.
		other, _ := userNSOf(t, holdNamespace(t, newNamespace(0, 600000, 65536)))
		if r := s.cooper(t, "build", "--progress=plain", "--userns=ns:"+other, "ctx"); r.Code != 0 ||
			strings.Contains(r.Stderr, "DONE") || strings.Count(r.Stderr, "CACHED") != 3 {
			t.Errorf("the same map: status %d\n%s", r.Code, r.Stderr)
		}
		// The namespace that cooper is in is no second one.
		if r := s.cooper(t, "build", "--progress=plain", "--no-cache", "--userns=ns:/proc/self/ns/user",
			"ctx"); r.Code != 0 ||
			strings.TrimSpace(r.Stdout) != image || !strings.Contains(strings.Join(strings.Fields(r.Stderr), " "),
			" 0 0 4294967295 ") {
			t.Errorf("cooper's own: status %d\n%s", r.Code, r.Stderr)
		}
		s.build(t, "-q", "--no-cache", "--keep-bundle=kept", "--userns=ns:"+path, "ctx")
		if config := strings.Join(strings.Fields(s.read(t, "kept/2/config.json")), " "); !strings.Contains(config,
			`"type": "user", "path": "/mnt/userns"`) ||
			!strings.Contains(config, `"uidMappings": [ { "containerID": 0, "hostID": 600000, "size": 65536 } ]`) {
			t.Errorf("the kept bundle has\n%s", config)
		}
		noRoot, _ := userNSOf(t, holdNamespace(t, newNamespace(5, 600000, 1000)))
		s.cooper(t, "build", "--userns=ns:"+noRoot, "ctx").fails(t, 2, noRoot, "no container ID 0", "5 600000 1000")
		noMap, _ := userNSOf(t, holdNamespace(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}))
		s.cooper(t, "build", "--userns=ns:"+noMap, "ctx").fails(t, 2, noMap, "no uid map")
		s.checkNoLeftovers(t)
	}
}

// backEnds are the flags for all that can run steps.
func backEnds() []string {
	how := []string{"--isolation=native"}
	for _, name := range runtimes() {
		how = append(how, "--runtime="+name)
	}
	return how
}

// TestStepsJoinANamespaceBelow builds in a namespace with another one below it, as an ordinary user who has entered the
// first.
func TestStepsJoinANamespaceBelow(t *testing.T) {
	t.Parallel()
	s, image := joinSite(t, ordinary(t))
	script := `mkfifo hold ready
unshare --user sh -c 'echo $$ >ready; read _ <hold' & 
read pid <ready
echo '0 7 60000' >/proc/$pid/uid_map && echo '0 7 60000' >/proc/$pid/gid_map && readlink /proc/$pid/ns/user >&2
` + suite.cooper + ` build --progress=plain --no-cache "$1" --userns=ns:/proc/$pid/ns/user ctx; code=$?
echo >hold; wait; rm hold ready; exit $code`
	for _, how := range backEnds() {
		r := s.cooper(t, "unshare", "sh", "-c", script, "sh", how)
		link, shown, _ := strings.Cut(r.Stderr, "\n")
		if seen := strings.Join(strings.Fields(shown), " "); r.Code != 0 || !strings.HasPrefix(link, "user:[") ||
			!strings.Contains(seen, link) ||
			!strings.Contains(seen, " 0 7 60000 ") || !strings.Contains(seen, " 0:0 ") {
			t.Errorf("%s: status %d\n%s", how, r.Code, r.Stderr)
		}
		if got := strings.TrimSpace(r.Stdout); got != image {
			t.Errorf("%s: the image is %s, without a namespace %s", how, got, image)
		}
	}
	if got := s.build(t, "-q", "--no-cache", "--userns=ns:/proc/self/ns/user", "ctx"); got != image {
		t.Errorf("in cooper's own namespace the image is %s", got)
	}
	s.checkNoLeftovers(t)
}

// TestNamespacesThatCannotBeJoined has what is no user namespace, and namespaces that are not below cooper's.
func TestNamespacesThatCannotBeJoined(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "ctx/Containerfile", "FROM scratch\n")
		s.write(t, "file", "x")
		if err := syscall.Mkfifo(s.path("pipe"), 0o644); err != nil {
			t.Fatal(err)
		}
		ended := exec.Command("true")
		if err := ended.Run(); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{
			s.path("file"): "is no user namespace", s.path("pipe"): "is no user namespace",
			"/proc/self/ns/mnt": "is no user namespace",
			s.path("missing"):   "no such file",
			"/proc/" + strconv.Itoa(ended.Process.Pid) + "/ns/user": "no such file",
		} {
			s.cooper(t, "build", "--userns=ns:"+path, "ctx").fails(t, 2, path, want)
		}
		if m.root() {
			return
		}
		cmd := s.command("unshare", "--user", "--map-root-user", "sh", "-c", "echo $$; read _")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(stdout).ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		path := "/proc/" + strings.TrimSpace(line) + "/ns/user"
		for _, path := range []string{path, "/proc/1/ns/user"} {
			s.cooper(t, "build", "--userns=ns:"+path, "ctx").fails(t, 2, path, "can only be joined from", "podman unshare",
				"--uidmap")
		}
		if err := stdin.Close(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // read has found the end
	})
}
