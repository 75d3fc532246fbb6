package joined

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns"
)

// errNotBelow means that a namespace isn't below the caller's, so that its map has no host IDs of the caller's
// namespace.
var errNotBelow = errors.New("it lies not below the namespace of this process")

// initialUserNS is the inode number of the machine's first user namespace, PROC_USER_INIT_INO of the kernel.
const initialUserNS = 0xEFFFFFFD

// Read reads the map of the user namespace at path, whether or not a step could join it; host IDs are those of
// the caller's own namespace. It is nil if the namespace is the caller's own. The map comes from a process that is in
// the namespace; only where none can be seen, one joins it for a moment. The errors name the path.
func Read(path string) (*userns.Mapping, error) {
	m, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("read map of user namespace %s: %w", path, err)
	}
	return m, nil
}

func read(path string) (*userns.Mapping, error) {
	pid := pidIn(path)
	file, err := openNamespace(path)
	if errors.Is(err, ErrNotAbove) { // this process may not follow the link of the namespace
		return mappingOfClosed(pid)
	}
	if err != nil {
		return nil, err
	}
	m, err := readOpenNS(file, pid)
	return m, errors.Join(err, file.Close())
}

// mappingOfClosed gives the mapping of a process whose namespace can't be opened. Every process may read the map
// itself, but only in the initial namespace it is certain that the other namespace is below.
func mappingOfClosed(pid int) (*userns.Mapping, error) {
	var own unix.Stat_t
	switch err := unix.Stat("/proc/self/ns/user", &own); {
	case err != nil:
		return nil, err
	case pid == 0:
		return nil, unix.EACCES
	case own.Ino != initialUserNS:
		return nil, errNotBelow
	}
	return mappingOf(pid)
}

// readOpenNS reads the map of a namespace from process pid, if that is in it, or another one.
func readOpenNS(file *os.File, pid int) (*userns.Mapping, error) {
	if own, err := isOwn(file); own || err != nil {
		return nil, err
	}
	parent, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_PARENT) // EPERM unless that is this process's or below it
	if err != nil {
		return nil, errNotBelow
	}

	_ = unix.Close(parent)
	if pid == 0 || !isIn(pid, file) {
		pid = member(file)
	}
	if pid != 0 {
		if m, err := mappingOf(pid); isIn(pid, file) { // the process was in the namespace while its map was read
			return m, err
		}
	}

	var m *userns.Mapping
	err = visit(file, func(pid int) (err error) {
		m, err = mappingOf(pid)
		return err
	})
	if errors.Is(err, ErrNotAbove) {
		err = unseen(file)
	}

	return m, err
}

// unseen gives the error for a namespace that can't be joined and in which no process can be seen.
func unseen(file *os.File) error {
	const problem = "no process that is in it can be looked at, and it can't be joined"
	owner, err := unix.IoctlGetUint32(int(file.Fd()), unix.NS_GET_OWNER_UID)
	if err != nil {
		return fmt.Errorf("%s: %w", problem, err)
	}
	return fmt.Errorf("%s: it was made by user %d; ask as that user or as root", problem, owner)
}

// pidIn gives the process ID in a path /proc/PID/ns/user, 0 for another path.
func pidIn(path string) int {
	found := regexp.MustCompile(`^/proc/([1-9][0-9]*)/ns/user$`).FindStringSubmatch(filepath.Clean(path))
	if found == nil {
		return 0
	}
	pid, err := strconv.Atoi(found[1])
	if err != nil {
		return 0
	}
	return pid
}

// member gives the ID of a process that is in the namespace, 0 if none can be seen.
func member(file *os.File) int {
	names, err := filepath.Glob("/proc/[1-9]*")
	if err != nil {
		return 0
	}
	for _, name := range names {
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil && isIn(pid, file) {
			return pid
		}
	}
	return 0
}

// isIn says whether a process is seen to be in a namespace.
func isIn(pid int, file *os.File) bool {
	same, err := isAt(fmt.Sprintf("/proc/%d/ns/user", pid), file)
	return same && err == nil
}

// mappingOf gives the mapping of a process.
func mappingOf(pid int) (*userns.Mapping, error) {
	uids, gids, err := listedMaps(pid)
	if err != nil {
		return nil, err
	}
	var m userns.Mapping
	if m.UIDs, err = userns.NewMap(uids...); err != nil {
		return nil, fmt.Errorf("its uid map: %w", err)
	}
	if m.GIDs, err = userns.NewMap(gids...); err != nil {
		return nil, fmt.Errorf("its gid map: %w", err)
	}
	return &m, nil
}
