package executor_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/asroot"
	"github.com/cooperbuild/cooper/userns/usertest"
)

// runtimeEnv names the OCI runtime that the steps of all tests are run by, "" for the native back end. It is there in
// the processes that run the tests again.
const runtimeEnv = "EXECUTOR_TEST_RUNTIME"

// patience is how long a step that must end is waited for: long enough for a machine with far too much to do.
const patience = 10 * time.Minute

// onNative matches the tests that are the same whatever runs steps: those of emulators, which runtimes don't have, and
// of what is before there is a step.
const onNative = "^Test(Emulat(orsExecute|ionKeeps|ionWithout)|ManyStepsShareANamespaceWithEmulators|UnknownEmulators|" +
	"AStepThatCannotBegin)"

// TestMain runs the tests on each back end. When they are run by root, the native one runs them as real root and in a
// user and mount namespace of their own, and the runtimes one or the other, by turns: crun in the namespace, as
// ordinary users have it, and runc as real root. (End to end, both run steps for both.) An ordinary user runs them in
// the namespace that cooper enters.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && !strings.HasPrefix(os.Args[1], "-") {
		os.Exit(helper(os.Args[1]))
	}
	os.Exit(usertest.Main(func() (code int) {
		name, again := os.LookupEnv(runtimeEnv)
		if name != "" {
			if err := asroot.LeaveOutNamed(onNative, "they have been run without "+name); err != nil {
				fmt.Println(err)
				return 1
			}
		}
		if !again {
			remove, err := foreignDir()
			if err != nil {
				fmt.Println(err)
				return 1
			}
			defer func() {
				if err := remove(); err != nil {
					fmt.Println(err)
					code = 1
				}
			}()
		}
		code = m.Run()
		if code == 0 && !again {
			return onOtherBackEnds()
		}
		return code
	}))
}

func onOtherBackEnds() int {
	outside := asroot.Real()
	var others []usertest.Run
	for i, name := range append([]string{""}, executor.RuntimeNames()...) {
		env := []string{runtimeEnv + "=" + name}
		if testing.Short() {
			fmt.Println("not started with -short: the tests", cmp.Or(name, "in a user namespace"))
			continue
		}
		if outside || name != "" {
			others = append(others, usertest.Run{Namespace: outside && i < 2, Env: env})
		}
	}
	return usertest.Again(others...)
}

// backEnd is the OCI runtime under test, nil for the native back end.
func backEnd() *executor.Runtime {
	name := os.Getenv(runtimeEnv)
	if name == "" {
		return nil
	}
	found, err := executor.FindRuntime(context.Background(), name)
	if err != nil {
		panic(err)
	}
	return &found
}

func inside() bool { return !asroot.Real() }

// box is a busybox root and the directories of a step.
type box struct {
	t    testing.TB
	base string
}

const busybox = "/bin/busybox"

func newBox(t testing.TB) *box {
	t.Helper()
	if _, err := os.Stat(busybox); err != nil {
		t.Fatalf("a static %s is needed: sh contrib/setup.sh --tests", busybox)
	}
	b := &box{t, t.TempDir()}
	if err := os.Chmod(b.base, 0o755); err != nil {
		t.Fatal(err)
	}
	b.addBusybox(b.dir("layer").Name())
	b.write("layer/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001::/home/alice:/bin/sh\n")
	b.write("layer/etc/group", "root:x:0:root\nalice:x:1001:\nstaff:x:50:bob, alice\ndocker:x:999:alice\n")
	return b
}

func (b *box) addBusybox(dir string) {
	data, err := os.ReadFile(busybox)
	b.must(err)
	for _, d := range []string{"bin", "tmp"} {
		b.must(os.MkdirAll(dir+"/"+d, 0o755))
	}
	b.must(os.Chmod(dir+"/tmp", 0o1777))
	b.must(os.WriteFile(dir+"/bin/busybox", data, 0o755))
	for _, name := range strings.Fields(
		"sh ls cat echo true false id env mkdir rm touch sleep ps mount umount unshare chroot hostname " +
			"grep stat pwd kill readlink ln dd head wc seq su ip sync nc mknod chown setsid find printf cut sort awk chmod test rmdir nslookup tty df") {
		b.must(os.Symlink("busybox", dir+"/bin/"+name))
	}
}

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) path(name string) string { return filepath.Join(b.base, name) }

// dir makes a directory below the box's and opens it.
func (b *box) dir(name string) *os.File {
	b.t.Helper()
	b.must(os.MkdirAll(b.path(name), 0o755))
	return b.open(name)
}

func (b *box) open(name string) *os.File {
	b.t.Helper()
	fd, err := unix.Open(b.path(name), unix.O_PATH|unix.O_CLOEXEC, 0)
	b.must(err)
	f := os.NewFile(uintptr(fd), b.path(name))
	b.t.Cleanup(func() { f.Close() })
	return f
}

func (b *box) write(name, text string) {
	b.t.Helper()
	b.must(os.MkdirAll(filepath.Dir(b.path(name)), 0o755))
	b.must(os.WriteFile(b.path(name), []byte(text), 0o644))
}

// step is a step on the box's layer.
func (b *box) step(args ...string) executor.Step {
	b.t.Helper()
	return executor.Step{
		Rootfs: executor.Rootfs{
			Lower: []*os.File{b.dir("layer")}, Upper: b.dir("upper"), Work: b.dir("work"), UserXattr: inside(), Volatile: true,
		},
		Args: args, Runtime: backEnd(),
	}
}

// sh is a shell script with one output stream: runc reads two, and writes what it read in the order it came to it.
func (b *box) sh(script string) executor.Step { return b.step("/bin/sh", "-c", "exec 2>&1\n"+script) }

// run runs the step and gives its output.
func (b *box) run(s executor.Step) (string, executor.Status, error) {
	b.t.Helper()
	var out bytes.Buffer
	s.Stdout, s.Stderr = &out, &out
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	status, err := executor.Run(ctx, s)
	return out.String(), status, err
}

// output runs a step that must succeed.
func (b *box) output(s executor.Step) string {
	b.t.Helper()
	out, status, err := b.run(s)
	if err != nil || status.ExitCode != 0 {
		b.t.Fatalf("status %+v, %v, output:\n%s", status, err, out)
	}
	return out
}

// upper lists what the step left in the upper directory.
func (b *box) upper() []string {
	b.t.Helper()
	var names []string
	b.must(filepath.WalkDir(b.path("upper"), func(p string, _ os.DirEntry, err error) error {
		if p != b.path("upper") {
			names = append(names, strings.TrimPrefix(p, b.path("upper")+"/"))
		}
		return err
	}))
	return names
}

func (b *box) checkUpper(want ...string) {
	b.t.Helper()
	if got := strings.Join(b.upper(), " "); got != strings.Join(want, " ") {
		b.t.Errorf("upper has %q, want %q", got, want)
	}
}

func testMapping(t testing.TB) *userns.Mapping {
	t.Helper()
	uids, err := userns.NewMap(userns.Range{Container: 0, Host: 300000, Length: 65536})
	if err != nil {
		t.Fatal(err)
	}
	gids, err := userns.NewMap(userns.Range{Container: 0, Host: 400000, Length: 65536})
	if err != nil {
		t.Fatal(err)
	}
	return &userns.Mapping{UIDs: uids, GIDs: gids}
}
