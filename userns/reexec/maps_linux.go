package reexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns"
)

// helper is one of the two setuid programs that write an ID map for a user.
type helper struct {
	program    string     // name to look for in PATH
	kind       string     // kind of IDs that it maps: userns.KindUID or userns.KindGID
	file       string     // the map's name below /proc/PID
	capability string     // the file capability that can stand in for the setuid bit
	subFile    string     // subordinate ID file that it reads
	ids        userns.Map // the map to write
}

func helpers(m userns.Mapping) [2]helper {
	return [2]helper{
		{"newuidmap", userns.KindUID, "uid_map", "cap_setuid", userns.DefaultSubUID, m.UIDs},
		{"newgidmap", userns.KindGID, "gid_map", "cap_setgid", userns.DefaultSubGID, m.GIDs},
	}
}

// WriteMaps writes the ID maps of a process that was cloned into a new user
// namespace, directly and not through newuidmap. The caller needs CAP_SETUID and
// CAP_SETGID in its own namespace (and CAP_SETFCAP to map its ID 0, since Linux
// 5.12), and host IDs are those of that namespace. A map can be written once.
func WriteMaps(pid int, m userns.Mapping) error {
	for _, h := range helpers(m) {
		text := []byte(h.ids.String() + "\n")
		if len(text) >= os.Getpagesize() {
			return fmt.Errorf("write %s of process %d: %d bytes, the kernel takes less than a page: %w",
				h.file, pid, len(text), userns.ErrBadMap)
		}
		// The kernel wants the map in one write, at offset 0.
		path := filepath.Join(procRoot, strconv.Itoa(pid), h.file)
		if err := writeOnce(path, text); err != nil {
			return fmt.Errorf("write %s of process %d: %w", h.file, pid, err)
		}
	}
	return nil
}

func writeOnce(path string, text []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, text)
	return errors.Join(err, unix.Close(fd))
}

// mapIDs gives the child its maps: directly if the caller may, otherwise through
// both helpers at once.
func mapIDs(ctx context.Context, pid int, o Options) error {
	if userns.HasCap(unix.CAP_SETUID) && userns.HasCap(unix.CAP_SETGID) {
		err := WriteMaps(pid, o.Mapping)
		if errors.Is(err, unix.EPERM) {
			return unmappable(procRoot, o, err)
		}
		return err
	}
	if userns.IsRoot() { // root of a container: the helpers would have no more capabilities than this process
		return &MachineError{
			Problem: "root of this container lacks the capabilities SETUID and SETGID, without which it can't give its IDs to a namespace of its own",
			Remedy:  capsRemedy, Err: unix.EPERM,
		}
	}

	pair := helpers(o.Mapping)
	uid, err := pair[0].start(pid)
	if err != nil {
		return err
	}

	gid, err := pair[1].start(pid)
	if err != nil {
		_ = uid.wait(ctx, o)
		return err
	}

	// The two helpers nearly always fail for the same reason, so only one of the errors is returned.
	uidErr, gidErr := uid.wait(ctx, o), gid.wait(ctx, o)
	if uidErr != nil {
		return uidErr
	}

	return gidErr
}

const capsRemedy = "start the container with --cap-add SETUID --cap-add SETGID --cap-add SETFCAP, or in Kubernetes with " +
	"securityContext.capabilities.add: [SETUID, SETGID, SETFCAP]"

// MayMap reports whether this process has the capabilities to map all of its IDs, ID 0 among them, by itself.
func MayMap() bool {
	return userns.HasCap(unix.CAP_SETUID) && userns.HasCap(unix.CAP_SETGID) && userns.HasCap(unix.CAP_SETFCAP)
}

// running is a helper process.
type running struct {
	helper
	path    string
	process *os.Process
	stderr  *os.File // read end
}

// start runs the helper for a process. Both are started before either is waited
// for, and nothing is read from one that succeeds, so no goroutine (and no thread,
// which costs more than the rest) is needed to have them run side by side.
func (h helper) start(pid int) (*running, error) {
	path, err := exec.LookPath(h.program)
	if err != nil {
		return nil, &MachineError{
			Problem: h.program + " is not in PATH",
			Remedy:  installRemedy,
			Err:     err,
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe for %s: %w", h.program, err)
	}
	defer w.Close()
	args := append([]string{path, strconv.Itoa(pid)}, strings.Fields(h.ids.String())...)
	process, err := os.StartProcess(path, args, &os.ProcAttr{
		Env:   []string{"LC_ALL=C"},
		Files: []*os.File{nil, nil, w},
	})
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("run %s: %w", h.program, err)
	}
	return &running{h, path, process, r}, nil
}

// wait gives the helper's error, if it has failed.
func (r *running) wait(ctx context.Context, o Options) error {
	defer r.stderr.Close()
	stop := context.AfterFunc(ctx, func() { _ = r.process.Kill() })
	defer stop()
	state, err := r.process.Wait()
	switch {
	case err != nil:
		return fmt.Errorf("wait for %s: %w", r.program, err)
	case state.Success():
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("run %s: %w", r.program, context.Cause(ctx))
	}
	// The helper has ended, so all that it printed is in the pipe, and reading doesn't block.
	said, err := io.ReadAll(io.LimitReader(r.stderr, 4096))
	if err != nil {
		return fmt.Errorf("read message of %s: %w", r.program, err)
	}
	text := strings.TrimSpace(string(said))
	return r.diagnose(procRoot, r.path, o, &helperError{r.program, text, state})
}

// helperError is the failure of newuidmap or newgidmap.
type helperError struct {
	program string
	said    string // its standard error, trimmed
	state   *os.ProcessState
}

func (e *helperError) Error() string {
	if e.said == "" {
		return fmt.Sprintf("run %s: %v", e.program, e.state)
	}
	return e.said
}
