package executor

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/container"
	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/internal/script"
	"github.com/cooperbuild/cooper/executor/internal/steproot"
	"github.com/cooperbuild/cooper/executor/step"
)

// chroot is a third back end, which mounts nothing: the step's root is a directory, and the machine's namespaces are
// the step's.
type chroot struct {
	c     *container.Container
	fails error
}

var _ backEnd = (*chroot)(nil)

func (b *chroot) Prepare() (err error) {
	dir, err := inroot.OpenPlain(b.c.Step.Rootfs.Dir, ".", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	b.c.Root = &steproot.Root{Rootfs: b.c.Step.Rootfs, Dir: dir}
	if b.c.Null, err = os.Open(os.DevNull); err != nil {
		return err
	}
	return b.c.Identify()
}

func (b *chroot) Launch(h script.Handles) script.Launch {
	s := script.New(b.c)
	s.Settle(h)
	s.Call("enter the root", 0, unix.SYS_FCHDIR, b.c.Root.Dir.Fd())
	s.Call("change the root", 0, unix.SYS_CHROOT, s.String("."))
	s.EnterCwd()
	s.BecomeUser()
	s.Stdio(h)
	s.CloseRest()
	s.Exec()
	return script.Launch{Script: s, Handles: script.HandlesSignal}
}

func (b *chroot) Failure() error { return b.fails }

// A back end that shares next to nothing with the two there are needs no more than the interface.
func TestAThirdBackEndFits(t *testing.T) {
	dir := t.TempDir()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"bin", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	at, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	fails := error(nil)
	run := func(args ...string) (string, step.Status, error) {
		var out bytes.Buffer
		step := step.Step{Rootfs: step.Rootfs{Dir: at}, Args: args, Cwd: "/work", Stdout: &out, Stderr: &out}
		status, err := runOn(context.Background(), step, func(c *container.Container) (backEnd, error) {
			return &chroot{c, fails},
				nil
		})
		return out.String(), status, err
	}

	out, status, err := run("/bin/busybox", "sh", "-c", "pwd; busybox ls /; busybox id -u; exit 3")
	if err != nil || status.ExitCode != 3 || out != "/work\nbin\nwork\n0\n" {
		t.Errorf("%q %+v %v", out, status, err)
	}
	var start *step.StartError
	if _, _, err := run("/bin/nope"); !errors.As(err, &start) ||
		!strings.Contains(err.Error(), "no such file in the image") {
		t.Errorf("%v", err)
	}
	fails = errors.New("it tells of something else")
	if _, _, err := run("/bin/busybox", "true"); !errors.Is(err, fails) {
		t.Errorf("%v", err)
	}
}
