package doctor

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/userns/asroot"
)

// envStoreRoot tells a process that a test has started which store to look at.
const envStoreRoot = "COOPER_TEST_STORE_ROOT"

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "version": // in the step that is tried
		return
	case Task() != "": // what doctor starts this program for
		o := store.Options{Root: os.Getenv(envStoreRoot), RunRoot: os.Getenv(envStoreRoot) + "-run", Driver: "overlay"}
		if err := RunTask(context.Background(), o); err != nil {
			fmt.Fprintln(os.Stderr, "cooper:", err)
			os.Exit(1)
		}
		return
	case store.HandleReexec():
		return
	}
	if !asroot.Real() {
		if err := asroot.LeaveOut(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
