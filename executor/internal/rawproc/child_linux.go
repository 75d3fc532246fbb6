package rawproc

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// spawn makes the call, clone or clone3. The child runs the list of calls that begins at first and ends before end; the
// caller gets the child's process ID or a negative errno.
func spawn(call *cloneCall, first *rawOp, end uintptr, res *result) int

// cloneCall is a system call and its arguments; spawn_linux_*.s knows its layout.
type cloneCall struct {
	trap uintptr
	args [5]uintptr
}

// Child is a started program.
type Child struct {
	Pid   int      // its process ID in this process's pid namespace
	Pidfd *os.File // closed by Reap

	program *Program // kept alive, since the child reads it
	res     *result  // written by the child
}

// Start runs the program in a child made with the clone flags (namespaces; CLONE_VM and what goes with it is added).
// The child gets SIGKILL when the calling thread ends only if its program asks for that. Reap must be called.
func (p *Program) Start(flags uintptr) (*Child, error) {
	if p.err != nil {
		return nil, p.err
	}
	res := new(result)

	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	// The child has no stack of its own, so it must never run a signal handler.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[0]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return nil, fmt.Errorf("block signals: %w", err)
	}
	pid, pidfd := p.spawn(flags, res)
	err := unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	if pid < 0 {
		return nil, fmt.Errorf("clone: %w", unix.Errno(-pid))
	}
	c := &Child{Pid: pid, Pidfd: os.NewFile(uintptr(pidfd), "pidfd"), program: p, res: res}
	if err != nil {
		c.Kill()
		_, _, _ = c.Reap()
		return nil, fmt.Errorf("restore signal mask: %w", err)
	}
	return c, nil
}

// WithoutFork calls f while no child is cloned, by this package or another. So no child inherits the descriptors that f
// opens and closes, not even until it executes a program.
func WithoutFork(f func() error) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return f()
}

// spawn clones with clone3, which can reset signal handlers for us. Where that is missing (before Linux 5.5, or
// filtered) the child resets them one by one.
func (p *Program) spawn(flags uintptr, res *result) (pid int, pidfd int32) {
	fd := new(int32)
	flags |= unix.CLONE_VM | unix.CLONE_PIDFD
	pidfdAt := Pin(p, fd)
	args := &cloneArgs{
		flags: uint64(flags) | unix.CLONE_CLEAR_SIGHAND, pidfd: uint64(pidfdAt), exitSignal: uint64(unix.SIGCHLD),
	}
	pid = -int(unix.ENOSYS)
	if !p.old {
		first, end := p.assemble(nil)
		pid = spawn(&cloneCall{trap: unix.SYS_CLONE3, args: [5]uintptr{Pin(p, args), unsafe.Sizeof(*args)}}, first, end, res)
	}
	switch unix.Errno(-pid) {
	// EPERM comes from system call filters that are older than clone3.
	case unix.ENOSYS, unix.EINVAL, unix.E2BIG, unix.EPERM:
		pid = p.spawnOld(flags, pidfdAt, res)
	}
	return pid, *fd
}

// spawnOld clones with clone.
func (p *Program) spawnOld(flags, pidfdAt uintptr, res *result) int {
	first, end := p.assemble(p.resetSignals())
	call := &cloneCall{trap: unix.SYS_CLONE, args: [5]uintptr{flags | uintptr(unix.SIGCHLD), 0, pidfdAt}}
	return spawn(call, first, end, res)
}

// cloneArgs is struct clone_args of Linux 5.7 and later; what isn't used has no name.
type cloneArgs struct {
	flags, pidfd, _, _, exitSignal, _, _, _, _, _, _ uint64
}

func (c *Child) failure() error {
	runtime.KeepAlive(c.program)
	if c.res.failed == 0 {
		return nil
	}
	f := c.program.failure(c.res.failed)
	f.Errno = unix.Errno(c.res.errno)
	return f
}

// Kill sends SIGKILL to the child, if it still lives.
func (c *Child) Kill() { _ = unix.PidfdSendSignal(int(c.Pidfd.Fd()), unix.SIGKILL, nil, 0) }

// WaitEvent waits until the child has written to the eventfd event. It is an error if the child ends before it has.
func (c *Child) WaitEvent(event int) error {
	fds := []unix.PollFd{{Fd: int32(event), Events: unix.POLLIN}, {Fd: int32(c.Pidfd.Fd()), Events: unix.POLLIN}}
	if _, err := fsys.Retry(func() (int, error) { return unix.Poll(fds, -1) }); err != nil {
		return fmt.Errorf("wait for the child: %w", err)
	}
	if fds[0].Revents == 0 {
		return fmt.Errorf("wait for the child: it has ended: %w", unix.ESRCH)
	}
	return nil
}

// WaitEnd waits until the child has ended, without reaping it: its process ID stays its own.
func (c *Child) WaitEnd() error {
	return fsys.Retry0(func() error {
		var info unix.Siginfo
		return unix.Waitid(unix.P_PIDFD, int(c.Pidfd.Fd()), &info, unix.WEXITED|unix.WNOWAIT, nil)
	})
}

// Reap waits for the child's end, collects its status and lets go of the program's memory.
func (c *Child) Reap() (unix.WaitStatus, unix.Rusage, error) {
	defer c.Pidfd.Close()
	defer runtime.KeepAlive(c)
	var status unix.WaitStatus
	var usage unix.Rusage
	if _, err := fsys.Retry(func() (int, error) { return unix.Wait4(c.Pid, &status, 0, &usage) }); err != nil {
		return status, usage, fmt.Errorf("wait for process %d: %w", c.Pid, err)
	}
	return status, usage, c.failure()
}

// Usage turns the processor times of a child's rusage into durations.
func Usage(r unix.Rusage) (user, system time.Duration) {
	return time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())
}
