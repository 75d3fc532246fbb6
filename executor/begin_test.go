package executor

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A step that can't be told to begin is ended, and the error says why it couldn't.
func TestAStepThatCannotBeginSaysWhy(t *testing.T) {
	t.Parallel()
	bystander := exec.Command("sleep", "600")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = bystander.Process.Kill()
		_ = bystander.Wait()
	}()
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(self)
	watched, err := unix.PidfdOpen(bystander.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watched)
	p := &process{}
	if p.child, err = startWatcher(self, watched); err != nil {
		t.Fatal(err)
	}
	if p.watcher, err = startWatcher(self, int(p.child.Pidfd.Fd())); err != nil {
		t.Fatal(err)
	}
	err = p.begin(-1)
	if err == nil || !strings.HasPrefix(err.Error(), "begin step: bad file descriptor") ||
		strings.Contains(err.Error(), "%!") {
		t.Errorf("got %v", err)
	}
	if err := unix.Kill(p.child.Pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the child is still there: %v", err)
	}
}
