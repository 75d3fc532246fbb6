package streams

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/internal/guard"
)

// drainTime is how long a pipe is still read after the step's last process has ended. Only a process outside of the
// step that was sent the pipe can keep it open then.
const drainTime = time.Second

// Streams are the step's standard streams on the caller's side.
type Streams struct {
	Child [3]*os.File    // what the child gets; descriptors of 3 or more
	pipes []*os.File     // the reading ends of the pipes, one for each pump
	done  sync.WaitGroup // the pumps that still run
	mu    sync.Mutex     // guards err while pumps run
	err   error          // why output could not be written; the pumps set it, Finish returns it
	// terminal is the other side of a step's terminal, and end what the step's Terminal has returned; nil without one.
	terminal *os.File
	end      func() error
}

// Options say what the streams are connected with.
type Options struct {
	Null           *os.File  // stands in for Stdin if that is nil, and for outputs without a writer
	Stdin          *os.File  // the child gets it itself
	Stdout, Stderr io.Writer // nil discards the output
	// UID and GID own the pipes: they are the step's user, so that it can open /dev/stdout by name.
	UID, GID int
}

// Open makes the streams.
func Open(o Options) (s *Streams, err error) {
	s = &Streams{}
	if o.Stdin == nil {
		o.Stdin = o.Null
	}
	if s.Child[0], err = dupHigh(o.Stdin); err != nil {
		return nil, err
	}
	if s.Child[1], err = s.open(o, o.Stdout); err != nil {
		s.close()
		return nil, err
	}
	if SameWriter(o.Stdout, o.Stderr) {
		s.Child[2], err = dupHigh(s.Child[1])
	} else {
		s.Child[2], err = s.open(o, o.Stderr)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// SealedNull opens the null device in a read-only mount, as an output. Writing to the device works all the same, but
// its owner and mode can't be changed: runtimes change the owner of standard streams, and a step could do so too.
func SealedNull() (*os.File, error) {
	device, err := os.OpenFile(os.DevNull, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	defer device.Close()
	clone, err := overlay.Bind(device, overlay.BindOptions{Attr: unix.MOUNT_ATTR_RDONLY})
	if err != nil {
		return nil, err
	}
	defer clone.Close()
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", clone.Fd()), os.O_RDWR, 0)
}

// open gives the child's end of an output stream: the null device, the file that w is, or a pipe that is copied to w.
func (s *Streams) open(o Options, w io.Writer) (*os.File, error) {
	if w == nil {
		return dupHigh(o.Null)
	}
	if f, ok := w.(*os.File); ok {
		return dupHigh(f)
	}

	// os.Pipe would make non-blocking ends, but the step's end must block.
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make output pipe: %w", err)
	}
	if err := unix.SetNonblock(ends[0], true); err != nil {
		return nil, errors.Join(fmt.Errorf("make output pipe: %w", err), unix.Close(ends[0]), unix.Close(ends[1]))
	}

	r, in := os.NewFile(uintptr(ends[0]), "output"), os.NewFile(uintptr(ends[1]), "output")
	defer in.Close()
	high, err := dupHigh(in)
	if err != nil {
		r.Close()
		return nil, err
	}
	// without it the step can't open /dev/stdout by name, but writes all the same
	_ = unix.Fchown(int(high.Fd()), o.UID, o.GID)
	s.pipes = append(s.pipes, r)
	s.done.Add(1)
	go s.pump(w, r)
	return high, nil
}

// pump copies from the pipe r to w until the pipe ends. If w fails, it throws the rest away, so that the step doesn't
// block.
func (s *Streams) pump(w io.Writer, r *os.File) {
	defer s.done.Done()
	err := guard.Call(func() error {
		_, err := io.Copy(w, r)
		return err
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = guard.Call(func() error { return drain(w, r) })
	}
	if err == nil {
		return
	}
	s.mu.Lock()
	s.err = errors.Join(s.err, fmt.Errorf("write the step's output: %w", err))
	s.mu.Unlock()
	_, _ = io.Copy(io.Discard, r)
}

// drain copies the bytes that are in the pipe r now to w, and waits for no others.
func drain(w io.Writer, r *os.File) error {
	conn, err := r.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	var writeErr error
	err = conn.Control(func(fd uintptr) {
		for writeErr == nil {
			n, err := unix.Read(int(fd), buf)
			if err != nil || n <= 0 {
				return
			}
			_, writeErr = w.Write(buf[:n])
		}
	})
	return errors.Join(err, writeErr)
}

// CloseChild closes the files that only the child needs.
func (s *Streams) CloseChild() {
	for i, f := range s.Child {
		if f != nil {
			f.Close()
			s.Child[i] = nil
		}
	}
}

// Finish waits until all output was copied; it is called when the step has ended.
func (s *Streams) Finish() error {
	if s.terminal != nil {
		s.CloseChild()
		_ = s.terminal.SetReadDeadline(time.Now().Add(drainTime))
		return errors.Join(s.end(), s.terminal.Close())
	}
	for _, r := range s.pipes {
		_ = r.SetReadDeadline(time.Now().Add(drainTime))
	}
	s.close()
	return s.err
}

func (s *Streams) close() {
	s.CloseChild()
	s.done.Wait()
	for _, r := range s.pipes {
		r.Close()
	}
}

// dupHigh duplicates f to a descriptor above the standard ones, so that these can be replaced in any order. As with
// os/exec, f does not time out or wake any more when it is closed: Fd makes it block.
func dupHigh(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// SameWriter tells whether two writers are the same. Writers of types that can't be compared aren't: for these Go
// panics.
func SameWriter(a, b io.Writer) bool {
	defer func() { _ = recover() }()
	return a == b
}
