package tests_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// shownUserns is one map of cooper userns show --format=json.
type shownUserns struct {
	UIDs, GIDs []struct{ Container, Intermediate, Host, Length uint32 }
}

// TestUsernsMapsAreThoseOfPodman compares what cooper shows with what a process sees that podman has started with the
// same flags: the kernel has taken these maps, entry for entry.
func TestUsernsMapsAreThoseOfPodman(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	s.mkdir(t, "rootfs")
	// IDs that are nobody's inside have to get there, and make directories to mount on.
	if err := errors.Join(os.Chmod(s.dir, 0o755), os.Chmod(s.path("rootfs"), 0o777),
		copyBusybox(s.path("rootfs/busybox"))); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{
		"--userns=keep-id", "--userns=keep-id:uid=99999,gid=210", "--userns=nomap", "--uidmap=0:0:65537", "--gidmap=0:5:10",
		"--uidmap=100:0:1 --uidmap=0:5:10", "--uidmap=0:5:3 --uidmap=3:8:3", "--uidmap=4294967294:0:1 --uidmap=0:1:5",
	} {
		// podman leaves a process behind that would keep a pipe open, so its output goes to a file.
		s.run(t, "sh", "-c", "podman run --rm --network=host "+flag+" --rootfs "+s.path("rootfs")+
			" /busybox sh -c '/busybox sort -n /proc/self/uid_map; echo; /busybox sort -n /proc/self/gid_map' >seen 2>err || { cat err; exit 1; }")
		shown := s.run(t, suite.cooper, append([]string{"userns", "show", "--format=json"}, strings.Fields(flag)...)...)
		var maps []shownUserns
		if err := json.Unmarshal([]byte(shown), &maps); err != nil || len(maps) != 1 {
			t.Fatalf("cooper userns show %s: %v in %s", flag, err, shown)
		}
		if got, want := maps[0].second(), normalMap(s.read(t, "seen")); got != want {
			t.Errorf("%s: cooper shows\n%s\nin podman's container it is\n%s", flag, got, want)
		}
	}
}

// keepNamespace is a shell script for root of a mount namespace: it keeps a new user namespace at ./kept. The arguments
// of its function are what starts unshare and what is done while a process, $pid, is in it. If unshare fails, so does
// the read.
const keepNamespace = `
keep() {
	mkfifo ready hold; touch kept; exec 4<>hold
	$1 unshare --user $2 sh -c 'echo; read _ <&4' >ready & pid=$!
	read _ <ready
	mount --bind /proc/$pid/ns/user kept
	$3
	echo >&4; wait $pid
}
`

// showsMap checks that cooper userns show and translate know a namespace with container IDs 0 to 999, which are 7 and
// up in the first one.
const showsMap = `
shows() {
	"$COOPER" userns show --format=json "ns:$1" | tr -d ' \n' | grep -q '"uids":\[{"container":0,"intermediate":'$2',"host":[0-9]*,"length":1000}' || { "$COOPER" userns show "ns:$1"; exit 3; }
	[ "$("$COOPER" userns translate 10 --userns "ns:$1" --to intermediate)" = $(($2 + 10)) ]
}
`

// TestUsernsOfANamespaceFile reads the maps of namespaces that are kept by a mount, with and without a process in them.
func TestUsernsOfANamespaceFile(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.env = append(s.env, "COOPER="+suite.cooper)
		first, enter := "7", []string{suite.cooper, "unshare"}
		if m.root() {
			first, enter = "600007", []string{"unshare", "--mount", "--propagation=private"}
		}
		script := keepNamespace + showsMap + `
first=$1
meanwhile() {
	echo "0 $first 1000" >/proc/$pid/uid_map; echo "0 $first 1000" >/proc/$pid/gid_map
	ln -s /proc/$pid/ns/user link
	shows /proc/$pid/ns/user $first; shows "$PWD/link" $first; shows "$PWD/kept" $first
}
keep "" "" meanwhile
shows "$PWD/kept" $first
"$COOPER" userns show ns:/proc/self/ns/user >own`
		s.run(t, enter[0], append(enter[1:], "sh", "-ec", script, "sh", first)...)
		if own := s.read(t, "own"); !strings.Contains(own, "a namespace that is there already") {
			t.Errorf("its own namespace is shown as\n%s", own)
		}
	})
}

// TestAsRootUsernsOfANamespaceOfAnother has root's namespace, which an ordinary user can neither join nor look into,
// and the user's own.
func TestAsRootUsernsOfANamespaceOfAnother(t *testing.T) {
	t.Parallel()
	m := ordinary(t)
	s := newSite(t, m)
	s.inOtherMachine(t, keepNamespace+`keep "" --map-root-user`, "userns", "show", "ns:"+s.path("kept")).fails(t, 2,
		"--userns=ns", s.path("kept"), "can't be joined", "made by user 0")
	if err := errors.Join(os.Remove(s.path("ready")), os.Remove(s.path("hold"))); err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf("%skeep 'setpriv --reuid=%d --regid=%d --clear-groups --' --map-root-user", keepNamespace, m.UID,
		m.GID)
	r := s.inOtherMachine(t, own, "userns", "translate", "0", "--userns", "ns:"+s.path("kept"), "--to", "host")
	if r.Code != 0 || strings.TrimSpace(r.Stdout) != fmt.Sprint(m.UID) {
		t.Errorf("status %d, root of the own namespace is %q\n%s", r.Code, r.Stdout, r.Stderr)
	}
}

// copyBusybox makes a program that everybody may run, all that a root file system needs here.
func copyBusybox(path string) error {
	program, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	return copyProgram(program, path)
}

// copyProgram copies a program that is to be run. No process is started meanwhile: one that is in a user namespace of
// its own would have the copy open for writing until it knows its IDs, and what somebody may write to is not run.
func copyProgram(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(to, text, 0o755)
}

// second gives the second map in the form of the kernel's files: container ID, intermediate ID, length, group map after
// an empty line.
func (m shownUserns) second() string {
	var b strings.Builder
	for _, l := range m.UIDs {
		fmt.Fprintln(&b, l.Container, l.Intermediate, l.Length)
	}
	fmt.Fprintln(&b)
	for _, l := range m.GIDs {
		fmt.Fprintln(&b, l.Container, l.Intermediate, l.Length)
	}
	return joinLevels(b.String())
}

// normalMap takes the padding out of the kernel's columns.
func normalMap(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		fmt.Fprintln(&b, strings.Join(strings.Fields(line), " "))
	}
	return joinLevels(b.String())
}

// joinLevels joins lines that follow each other on both sides: a table has a line of its own for each range on the
// host.
func joinLevels(text string) string {
	var out []string
	var c, from, n uint32
	for line := range strings.Lines(text) {
		var c2, from2, n2 uint32
		if _, err := fmt.Sscan(line, &c2, &from2, &n2); err != nil {
			out, n = append(out, ""), 0
			continue
		}
		if n > 0 && c2 == c+n && from2 == from+n {
			n += n2
			out[len(out)-1] = fmt.Sprint(c, " ", from, " ", n)
			continue
		}
		c, from, n = c2, from2, n2
		out = append(out, fmt.Sprint(c, " ", from, " ", n))
	}
	return strings.Join(out, "\n")
}
