package overlay

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/thread"
	"github.com/cooperbuild/cooper/userns"
)

// AsContainerRoot runs f so that the files it makes on an ID-mapped mount belong to the root of the map m. Without a
// map f is just called.
func AsContainerRoot(m *userns.Mapping, f func() error) error {
	if m == nil {
		return f()
	}
	return thread.OnLost(func() error {
		if err := becomeContainerRoot(*m); err != nil {
			return err
		}
		return f()
	})
}

// becomeContainerRoot gives the calling thread the file system IDs of the map's root, and leaves it its capabilities.
// An overlay keeps the credentials that it is made with and creates its work files with them: on an ID-mapped upper
// directory the host's own root has no ID. The kernel closes the memory of the whole process to other users for that
// (PR_SET_DUMPABLE), and it stays closed: see rawproc.
func becomeContainerRoot(m userns.Mapping) error {
	uid, err := m.UIDs.ToHost(0)
	if err != nil {
		return err
	}
	gid, err := m.GIDs.ToHost(0)
	if err != nil {
		return err
	}
	return setFSIDs(uid, gid)
}

func setFSIDs(uid, gid uint32) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return fmt.Errorf("get capabilities: %w", err)
	}
	// These calls report no errors; asking again for an impossible ID tells what the IDs are. Only this thread changes.
	for _, call := range []struct{ trap, id uintptr }{{unix.SYS_SETFSGID, uintptr(gid)},
		{unix.SYS_SETFSUID, uintptr(uid)}} {
		_, _, _ = unix.RawSyscall(call.trap, call.id, 0, 0)
		if now, _, _ := unix.RawSyscall(call.trap, ^uintptr(0), 0, 0); now != call.id {
			return fmt.Errorf("set file system ID %d: %w", call.id, unix.EPERM)
		}
	}
	if err := unix.Capset(&header, &caps[0]); err != nil { // the change of ID has dropped some
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}
