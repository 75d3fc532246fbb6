package executor_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/joined"
	"github.com/cooperbuild/cooper/executor/overlay"
)

// A step's first process shares this process's memory until it executes the program, and is the step's user before
// that. So once the kernel has closed the memory to that user, nothing may open it again: another step may be starting
// at any time.
func TestMemoryStaysClosedToTheUsersOfSteps(t *testing.T) {
	b := newBox(t)
	tests := map[string]func(t *testing.T){
		"a step of another user": func(*testing.T) {
			s := b.sh("true")
			s.User = "1000"
			b.output(s)
		},
		"a step that joins": func(t *testing.T) {
			at, _ := held(t, true)
			ns, err := joined.Open(at)
			b.must(err)
			b.output(b.joining(ns, "true"))
			b.must(ns.Close())
		},
	}
	if !inside() {
		tests["the IDs of a map's root"] = func(t *testing.T) {
			b.must(overlay.AsContainerRoot(testMapping(t), func() error { return nil }))
		}
	}
	for name, do := range tests {
		t.Run(name, func(t *testing.T) {
			b.must(unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)) // as a step that starts leaves it
			do(t)
			if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable == 1 {
				t.Errorf("the memory is open again: %d, %v", dumpable, err)
			}
		})
	}
}
