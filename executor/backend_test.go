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

	"github.com/cooperbuild/cooper/executor/internal/inroot"
)

// chroot is a third back end, which mounts nothing: the step's root is a directory, and the machine's namespaces are
// the step's.
type chroot struct {
	c     *container
	fails error
}

var _ backEnd = (*chroot)(nil)

func (b *chroot) prepare() (err error) {
	dir, err := inroot.OpenPlain(b.c.step.Rootfs.Dir, ".", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	b.c.root = &root{o: b.c.step.Rootfs, dir: dir}
	if b.c.null, err = os.Open(os.DevNull); err != nil {
		return err
	}
	return b.c.identify()
}

func (b *chroot) launch(h handles) launch {
	s := newScript(b.c)
	s.settle(h)
	s.call("enter the root", 0, unix.SYS_FCHDIR, b.c.root.dir.Fd())
	s.call("change the root", 0, unix.SYS_CHROOT, s.String("."))
	s.enterCwd()
	s.becomeUser()
	s.stdio(h)
	s.closeRest()
	s.exec()
	return launch{script: s, handles: handlesSignal}
}

func (b *chroot) failure() error { return b.fails }

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
	run := func(args ...string) (string, Status, error) {
		var out bytes.Buffer
		step := Step{Rootfs: Rootfs{Dir: at}, Args: args, Cwd: "/work", Stdout: &out, Stderr: &out}
		status, err := runOn(context.Background(), step, func(c *container) (backEnd, error) {
			return &chroot{c, fails},
				nil
		})
		return out.String(), status, err
	}

	out, status, err := run("/bin/busybox", "sh", "-c", "pwd; busybox ls /; busybox id -u; exit 3")
	if err != nil || status.ExitCode != 3 || out != "/work\nbin\nwork\n0\n" {
		t.Errorf("%q %+v %v", out, status, err)
	}
	var start *StartError
	if _, _, err := run("/bin/nope"); !errors.As(err, &start) ||
		!strings.Contains(err.Error(), "no such file in the image") {
		t.Errorf("%v", err)
	}
	fails = errors.New("it tells of something else")
	if _, _, err := run("/bin/busybox", "true"); !errors.Is(err, fails) {
		t.Errorf("%v", err)
	}
}
