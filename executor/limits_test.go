package executor_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/internal/flock"
)

// eats is a script that takes many MB of memory and keeps them.
const eats = `x=$(head -c 40000000 /dev/zero | tr '\0' x); y=$x$x; sleep 600; echo $y`

func TestAStepThatTakesMoreMemoryThanItMayIsEndedAndTheLimitIsNamed(t *testing.T) {
	b := newBox(t)
	b.link("tr")
	s := b.sh(eats)
	s.Resources = executor.Resources{Memory: 32 << 20, Swap: 32 << 20}
	_, status, err := b.run(s)
	if err != nil || status.ExitCode == 0 || status.Limited != executor.MemoryLimited {
		t.Errorf("%+v, %v", status, err)
	}
	if status.Usage.Memory < 16<<20 {
		t.Errorf("%+v", status.Usage)
	}
}

// link adds a program of busybox to the layer.
func (b *box) link(names ...string) {
	b.t.Helper()
	for _, name := range names {
		b.must(os.Symlink("busybox", b.path("layer/bin/"+name)))
	}
}

func TestAStepWithinItsLimitsIsLeftAlone(t *testing.T) {
	b := newBox(t)
	s := b.sh("sleep 0.1; echo done")
	s.Resources = executor.Resources{Memory: 512 << 20, Processes: 100}
	out, status, err := b.run(s)
	if err != nil || out != "done\n" || status.Limited != "" || status.ExitCode != 0 {
		t.Errorf("%q, %+v, %v", out, status, err)
	}
}

// bomb starts processes until it may not, or until there are far too many, and counts those that there are without
// starting another.
const bomb = `{ n=0; while [ $n -lt MANY ]; do n=$((n+1)); sleep 600 & done; } 2>/dev/null`

// aloneOfRuns waits until no other run of this program, with another runtime, is past here: the processes of both are
// those of one user, whose number is what is limited.
func aloneOfRuns(t *testing.T) {
	t.Helper()
	f, err := os.Open("/proc/self/exe")
	if err == nil {
		t.Cleanup(func() { f.Close() })
		err = flock.Lock(t.Context(), f, flock.Exclusive)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAStepHasNoMoreProcessesThanItMay(t *testing.T) {
	aloneOfRuns(t)
	b := newBox(t)
	s := b.sh(`trap 'set -- /proc/[0-9]*; echo $#' EXIT; ` + strings.ReplaceAll(bomb, "MANY", "1200"))
	// An ordinary user's other processes count, too, those of other packages' tests among them.
	for _, processes := range []int64{400, 800} {
		s.Resources = executor.Resources{Processes: processes}
		out, status, err := b.run(s)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
		if err != nil || n < processes/2 || n > processes+32 {
			t.Errorf("of %d: %q, %+v", processes, out, status)
		}
	}
}

func TestAStepIsBoundToItsProcessors(t *testing.T) {
	var usable unix.CPUSet
	if err := unix.SchedGetaffinity(0, &usable); err != nil {
		t.Fatal(err)
	}
	last := 0
	for n := range len(usable) * 64 {
		if usable.IsSet(n) {
			last = n
		}
	}
	b := newBox(t)
	s := b.sh("grep Cpus_allowed_list /proc/self/status | cut -f2")
	s.Resources = executor.Resources{CPUs: strconv.Itoa(last)}
	if out := b.output(s); strings.TrimSpace(out) != strconv.Itoa(last) {
		t.Errorf("%q, want %d", out, last)
	}
	s.Resources = executor.Resources{CPUQuota: 300 * time.Millisecond}
	b.output(s)
}

func TestWhatAStepTookIsTold(t *testing.T) {
	b := newBox(t)
	_, status, err := b.run(b.sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; true"))
	if err != nil || status.ExitCode != 0 {
		t.Fatalf("%+v, %v", status, err)
	}
	if u := status.Usage; u.CPU <= 0 || u.Memory <= 0 {
		t.Errorf("%+v", u)
	}
}
