package overlay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/thread"
)

// A Program is an overlay in user space, such as fuse-overlayfs, to be used in place of the kernel's.
type Program struct {
	Path string // of the program's file
	// Options are further ones for its -o, such as "noacl".
	Options []string
}

// fuseDevice is where the kernel hands the requests of a FUSE file system to the program that serves it.
const fuseDevice = "/dev/fuse"

// endWithin is how long a program may go on after its mount is gone, to write what it has not written yet.
const endWithin = 30 * time.Second

// Mount does what the function Mount does, by the program, which runs until unmount is called or ctx ends. No mount
// table shows the mount, and the program ends when the mount goes: however this process ends, nothing stays of either.
// unmount returns when all changes are in o.Upper; nobody else may use the mount while it runs. IDMap, LowerMapped,
// UserNS and UserXattr are not for programs, and are ignored.
func (p Program) Mount(ctx context.Context, o Options) (dir *os.File, unmount func() error, err error) {
	if len(o.Lower) == 0 {
		dir, err = Mount(Options{Upper: o.Upper, Work: o.Work, Attr: o.Attr})
		if err != nil {
			return nil, nil, err
		}
		return dir, dir.Close, nil
	}

	dev, err := os.OpenFile(fuseDevice, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("mount with %s: %w", p.Path, err)
	}
	if dir, err = mountFuse(dev, o); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("mount with %s: %w", p.Path, err), dev.Close())
	}

	m := &programMount{program: p.Path, dir: dir, ended: make(chan struct{})}
	m.ctx, m.kill = context.WithCancel(ctx)
	// After dev is closed here only the program has the device open: when the program ends, whoever waits for an answer
	// from the mount gets an error.
	if err := errors.Join(p.serve(m, dev, o), dev.Close()); err != nil {
		return nil, nil, errors.Join(err, m.unmount())
	}

	var st unix.Stat_t
	// An error says that the program doesn't serve the mount; why, it says at its end, which unmount reports.
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("mount with %s: %w", p.Path, err), m.unmount())
	}

	return dir, m.unmount, nil
}

// serve starts the program. The program finds out the path of its upper directory and takes a colon in it for its end.
// So if the path has one, the program runs in a mount namespace of its own in which the directory has another path.
func (p Program) serve(m *programMount, dev *os.File, o Options) error {
	if o.Upper == nil {
		return m.start(p.command(m.ctx, dev, o))
	}
	path, err := os.Readlink(fdPath(int(o.Upper.Fd())))
	if err != nil {
		return err
	}
	if !strings.Contains(path, ":") {
		return m.start(p.command(m.ctx, dev, o))
	}

	var l layers
	o.UserNS = nil
	if err := l.cloneUpper(o); err != nil {
		closeAll(l.own)
		return err
	}
	defer closeAll(l.mounts)
	o.Upper, o.Work = os.NewFile(uintptr(l.upper), o.Upper.Name()), os.NewFile(uintptr(l.work), o.Work.Name())
	defer o.Upper.Close()
	defer o.Work.Close()

	return thread.OnLost(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := attachAnywhere(l.mounts[0]); err != nil {
			return err
		}
		return m.start(p.command(m.ctx, dev, o))
	})
}

// attachAnywhere attaches a mount at a directory that every machine has, and in which a mount program looks for
// nothing.
func attachAnywhere(fd int) (err error) {
	for _, place := range []string{"/mnt", "/media", "/srv", "/tmp"} {
		if err = unix.MoveMount(fd, "", unix.AT_FDCWD, place, unix.MOVE_MOUNT_F_EMPTY_PATH); err == nil {
			return nil
		}
	}
	return fmt.Errorf("attach the upper directory: %w", err)
}

// mountFuse makes a detached mount that is served by whoever reads from dev.
func mountFuse(dev *os.File, o Options) (*os.File, error) {
	fs, err := openFS("fuse")
	if err != nil {
		return nil, err
	}
	defer fs.close()
	for _, opt := range []option{
		{"source", "fuse-overlayfs"}, {"fd", strconv.Itoa(int(dev.Fd()))}, {"rootmode", strconv.FormatUint(unix.S_IFDIR, 8)},
		{"user_id", "0"}, {"group_id", "0"}, {"default_permissions", ""}, {"allow_other", ""},
	} {
		fs.set(opt.key, opt.value)
	}
	attr := o.Attr | unix.MOUNT_ATTR_NODEV
	if o.Upper == nil {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	return fs.mount(attr)
}

// command is the program in the foreground. It inherits the directories as descriptors, whose names need no quoting.
func (p Program) command(ctx context.Context, dev *os.File, o Options) *exec.Cmd {
	var files []*os.File
	inherit := func(f *os.File) int {
		const first = 3
		files = append(files, f)
		return first + len(files) - 1
	}
	target := fmt.Sprintf("/dev/fd/%d", inherit(dev)) // libfuse takes this for a file system that is mounted already
	lower := make([]string, len(o.Lower))
	for i, f := range o.Lower {
		lower[i] = fdPath(inherit(f))
	}
	options := []string{"lowerdir=" + strings.Join(lower, ":")}
	if o.Upper != nil {
		options = append(options, "upperdir="+fdPath(inherit(o.Upper)), "workdir="+fdPath(inherit(o.Work)))
	}
	if o.Volatile {
		options = append(options, "fsync=0")
	}
	options = append(options, p.Options...)
	cmd := exec.CommandContext(ctx, p.Path, "-f", "-o", strings.Join(options, ","), target)
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process, which ends the program in its time
	return cmd
}

// programMount is a mount and the process that serves it.
type programMount struct {
	program string          // path of the program, for errors
	dir     *os.File        // O_PATH descriptor of the detached mount
	ctx     context.Context //nolint:containedctx // it ends the process, and says why it ended
	kill    context.CancelFunc
	ended   chan struct{} // closed when the process has ended
	failed  error         // the result of Wait; it is set before ended is closed
	said    head          // the beginning of the process's standard error
}

func (m *programMount) start(cmd *exec.Cmd) error {
	cmd.Stderr = &m.said
	if err := cmd.Start(); err != nil {
		close(m.ended)
		if m.ctx.Err() != nil { // it says nothing of the cause
			err = context.Cause(m.ctx)
		}
		return fmt.Errorf("start mount program: %w", err)
	}
	go func() {
		defer close(m.ended)
		m.failed = cmd.Wait()
	}()
	return nil
}

// cutOff is what libfuse says of a mount that has gone while it read the next request. The kernel mostly gives ENODEV
// then, which is a good end, but now and then ECONNABORTED. Whoever used the mount before would have seen an error.
const cutOff = "fuse: reading device: "

// unmount waits for the process, which ends by itself when the mount is gone.
func (m *programMount) unmount() error {
	defer m.kill()
	early := false
	select {
	case <-m.ended:
		early = true
	default:
	}
	err := m.dir.Close()
	late := time.NewTimer(endWithin)
	defer late.Stop()
	select {
	case <-m.ended:
	case <-late.C:
		m.kill()
		<-m.ended
		return errors.Join(err, fmt.Errorf("unmount with %s: it did not end in %s: is somebody else using the mount?",
			m.program, endWithin))
	}
	// After the end of ctx the program was killed on purpose.
	if m.failed != nil && m.ctx.Err() == nil && (early || !bytes.Contains(m.said.text, []byte(cutOff))) {
		err = errors.Join(err, fmt.Errorf("mount program %s: %w\n%s", m.program, m.failed, m.said.text))
	}
	return err
}

// head keeps the first 4096 bytes of what is written to it.
type head struct{ text []byte }

func (h *head) Write(p []byte) (int, error) {
	const most = 4096
	h.text = append(h.text, p[:min(len(p), most-len(h.text))]...)
	return len(p), nil
}
