package executor_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
)

const (
	baseEnv   = "EXECUTOR_TEST_BASE"
	scriptEnv = "EXECUTOR_TEST_SCRIPT"
)

// runAndWait runs a step in another process, to be killed.
func runAndWait() int {
	open := func(name string) *os.File {
		fd, err := unix.Open(os.Getenv(baseEnv)+"/"+name, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
		return os.NewFile(uintptr(fd), name)
	}
	_, err := executor.Run(context.Background(), executor.Step{
		Rootfs: executor.Rootfs{
			Lower: []*os.File{open("layer")}, Upper: open("upper"), Work: open("work"), UserXattr: inside(), Volatile: true,
		},
		Args: []string{"/bin/sh", "-c", os.Getenv(scriptEnv)}, Stdout: os.Stdout, Stderr: os.Stderr,
		Runtime: backEnd(),
	})
	fmt.Println(err)
	return 1
}

// TestKillingTheCallerEndsTheStep also takes the kernel's own signal for that away from the step.
func TestKillingTheCallerEndsTheStep(t *testing.T) {
	for name, script := range map[string]string{
		"plain":        "echo $(readlink /proc/self/ns/pid); sleep 1000; true",
		"changed user": "readlink /proc/self/ns/pid; exec su alice -s /bin/sleep 1000",
		"background":   "readlink /proc/self/ns/pid; setsid sleep 1000 & exec chroot / su alice -c 'sleep 1000'",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.write("layer/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001::/:/bin/sh\n")
			b.dir("upper")
			b.dir("work")
			before := b.mounts()
			cmd := exec.Command("/proc/self/exe", "run-and-wait")
			cmd.Env = append(os.Environ(), baseEnv+"="+b.base, scriptEnv+"="+script)
			out, err := cmd.StdoutPipe()
			b.must(err)
			b.must(cmd.Start())
			ns, err := bufio.NewReader(out).ReadString('\n')
			b.must(err)
			time.Sleep(50 * time.Millisecond) // for what the script does next
			if n := processesIn(t, strings.TrimSpace(ns)); n == 0 {
				t.Fatalf("no process in %s", ns)
			}
			b.must(cmd.Process.Kill())
			_ = cmd.Wait()
			deadline := time.Now().Add(patience)
			for processesIn(t, strings.TrimSpace(ns)) > 0 {
				if time.Now().After(deadline) {
					t.Fatal("the step outlives its caller")
				}
				time.Sleep(5 * time.Millisecond)
			}
			if after := b.mounts(); before != after {
				t.Errorf("mounts left:\n%s", after)
			}
		})
	}
}

// processesIn counts the processes in a pid namespace.
func processesIn(t *testing.T, ns string) int {
	t.Helper()
	links, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, l := range links {
		if link, err := os.Readlink("/proc/" + l.Name() + "/ns/pid"); err == nil && link == ns {
			n++
		}
	}
	return n
}

func TestNothingIsLeftAfterManySteps(t *testing.T) {
	b := newBox(t)
	s := b.sh("echo x > /tmp/x; rm /tmp/x; sleep 100 & true")
	b.output(s)
	before := b.mounts()
	fds, threads := count(t, "/proc/self/fd"), count(t, "/proc/self/task")
	steps := 100
	if backEnd() != nil || testing.Short() {
		steps = 25
	}
	for range steps {
		if status, err := executor.Run(context.Background(), s); err != nil || status.ExitCode != 0 {
			t.Fatalf("%+v %v", status, err)
		}
	}
	// The Go runtime opens one or two of its own when it likes; a leak would be as many as there were steps.
	if n := count(t, "/proc/self/fd"); n > fds+8 {
		t.Errorf("%d descriptors, before %d", n, fds)
	}
	if n := count(t, "/proc/self/task"); n > threads+8 {
		t.Errorf("%d threads, before %d", n, threads)
	}
	if after := b.mounts(); before != after {
		t.Errorf("mounts left:\n%s", after)
	}
	out, err := exec.Command("ps", "-o", "pid,comm", "--ppid", fmt.Sprint(os.Getpid())).Output()
	if err == nil && strings.Count(string(out), "\n") > 2 { // the titles and ps itself
		t.Errorf("processes left:\n%s", out)
	}
}

// mounts is what the mount table has of this box, and of mounts made as we make them. Others mount things, too, while
// this runs.
func (b *box) mounts() string {
	b.t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	b.must(err)
	var own []string
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, b.base) || strings.Contains(line, "/proc/self/fd") {
			own = append(own, line)
		}
	}
	return strings.Join(own, "")
}

func count(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestStepsRunInParallel(t *testing.T) {
	b := newBox(t)
	layer := b.dir("layer")
	done := make(chan error)
	const n = 20
	for i := range n {
		id := fmt.Sprintf("%d/", i)
		s := executor.Step{
			Rootfs: executor.Rootfs{
				Lower: []*os.File{layer}, Upper: b.dir(id + "upper"), Work: b.dir(id + "work"), UserXattr: inside(), Volatile: true,
			},
			Args: []string{"/bin/sh", "-c", "echo " + id + " > /mine; sleep 0.2; cat /mine"},
		}
		go func() {
			var out strings.Builder
			s.Stdout = &out
			status, err := executor.Run(context.Background(), s)
			if err == nil && (status.ExitCode != 0 || out.String() != id+"\n") {
				err = fmt.Errorf("%s: %+v %q", id, status, out.String())
			}
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A caller may count descriptors, or wait for all children, as soon as Run has returned.
func TestNoProcessOfAStepIsLeftWhenRunReturns(t *testing.T) {
	b := newBox(t)
	for range 20 {
		b.output(b.sh("true"))
		names, err := filepath.Glob("/proc/self/fd/*")
		b.must(err)
		for _, name := range names {
			if target, err := os.Readlink(name); err == nil && strings.Contains(target, "pidfd") {
				t.Fatalf("%s is open: %s", name, target)
			}
		}
	}
}
