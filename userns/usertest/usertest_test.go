package usertest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/userns/usertest"
)

// waitEnv is in the environment of a process whose tests end by a signal alone.
const waitEnv = "USERTEST_TEST_WAIT"

// filesIn begins the line in which such a process says where its temporary files are.
const filesIn = "files in "

func TestMain(m *testing.M) {
	os.Exit(usertest.Main(func() int {
		if os.Getenv(waitEnv) == "" {
			return m.Run()
		}
		fmt.Println(filesIn + os.TempDir())
		time.Sleep(time.Hour) // a signal comes first
		return 0
	}))
}

func TestNothingIsLeftOfTestsThatASignalEnds(t *testing.T) {
	for _, by := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(by.String(), func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
			// The variables of usertest itself are those of a program that nothing has been mounted for.
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, waitEnv + "=1"}
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			said := bufio.NewScanner(out)
			for said.Scan() && !strings.HasPrefix(said.Text(), filesIn) {
			}
			if !strings.HasPrefix(said.Text(), filesIn+dir+"/") {
				t.Errorf("temporary files go elsewhere: %q, %v", said.Text(), said.Err())
			}
			if err := cmd.Process.Signal(by); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("it has succeeded")
			}
			if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
				t.Errorf("%v is left, %v", left, err)
			}
		})
	}
}
