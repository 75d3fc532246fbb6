package executor_test

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
)

// callersKey is what the keys of the caller hold in the test.
const callersKey = "the caller's own key"

// stealKeys has the kernel give every key that /proc/keys tells of, as its owner may, and prints what it gets. A
// process whose own session keyring has a link to a key possesses it, and may then do what the key's user may not.
func stealKeys() int {
	own, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	fmt.Println("session keyring:", own > 0, err)
	f, err := os.Open("/proc/keys")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), " ")
		serial, err := strconv.ParseUint(text, 16, 31)
		if err != nil {
			continue
		}
		buf := make([]byte, 4096)
		_, _ = unix.KeyctlInt(unix.KEYCTL_LINK, int(serial), unix.KEY_SPEC_SESSION_KEYRING, 0, 0)
		if n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, int(serial), buf, 0); err == nil {
			fmt.Printf("%q\n", buf[:min(n, len(buf))])
		}
	}
	return 0
}

// addCallersKeys gives the user and the session of the test, which is a new one, a key each.
func addCallersKeys(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // a keyring is a thread's; the test's ends with it
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	for _, ring := range []int{unix.KEY_SPEC_SESSION_KEYRING, unix.KEY_SPEC_USER_KEYRING} {
		id, err := unix.AddKey("user", fmt.Sprintf("cooper-test-%d-%d", os.Getpid(), -ring), []byte(callersKey), ring)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = unix.KeyctlInt(unix.KEYCTL_REVOKE, id, 0, 0, 0) })
	}
	if text, err := os.ReadFile("/proc/keys"); err != nil || !strings.Contains(string(text), "cooper-test-") {
		t.Fatalf("the test sees no key of its own: %v, %s", err, text)
	}
}

func TestNoStepReachesTheCallersKeys(t *testing.T) {
	addCallersKeys(t)
	b := newBox(t)
	b.addSelf()
	for name, security := range map[string]executor.Security{
		"insecure": {Insecure: true}, "unconfined": {NoFilter: true}, "usual": {},
		"no new privileges": {NoFilter: true, NoNewPrivs: true},
	} {
		s := b.step("/self", "steal-keys")
		s.Security = security
		got := b.output(s)
		if strings.Contains(got, callersKey) {
			t.Errorf("%s: the step got\n%s", name, got)
		}
		want := "session keyring: false function not implemented\n"
		if name == "usual" {
			want = "session keyring: false operation not permitted\n"
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
