package cgroup_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/cooperbuild/cooper/userns/asroot"
)

// waits is the argument with which the test program is a process that waits for the end of its input.
const waits = "wait"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == waits {
		fmt.Println()
		_, _ = os.Stdin.Read(make([]byte, 1))
		return
	}
	if !asroot.Real() {
		if err := asroot.LeaveOut(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
