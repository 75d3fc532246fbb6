package executor_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
)

// What x/sys has no names for: the file handles of namespaces (Linux 6.18), FILEID_NSFS and FD_NSFS_ROOT, and the ioctl
// NS_GET_MNTNS_ID.
const (
	nsHandle  = 0xf1
	nsRoot    = -10003
	getMntID  = 0x8008b705
	envEscape = "EXECUTOR_TEST_NS"
)

// mntNS is what a file handle of a mount namespace is made of.
type mntNS struct {
	id    uint64
	inode uint32
}

// escape enters a mount namespace by nothing but its numbers, which can be guessed.
func escape() int {
	runtime.LockOSThread()
	var ns mntNS
	if _, err := fmt.Sscanf(os.Getenv(envEscape), "%d %d", &ns.id, &ns.inode); err != nil {
		fmt.Println(err)
		return 1
	}
	data := binary.NativeEndian.AppendUint64(nil, ns.id)
	data = binary.NativeEndian.AppendUint32(data, unix.CLONE_NEWNS)
	data = binary.NativeEndian.AppendUint32(data, ns.inode)
	fd, err := unix.OpenByHandleAt(nsRoot, unix.NewFileHandle(nsHandle, data), 0)
	if err == nil {
		if err = unix.Unshare(unix.CLONE_FS); err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNS)
		}
	}
	fmt.Println("escaped:", err == nil)
	return 0
}

// TestStepsWithAllCapabilitiesStayInTheirMounts: the caller's mount namespace belongs to a user namespace in which a
// step must not be powerful.
func TestStepsWithAllCapabilitiesStayInTheirMounts(t *testing.T) {
	if !inside() {
		return // in the initial user namespace root is root
	}
	f, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	id, err := ioctlUint64(f, getMntID)
	if err == nil {
		err = unix.Fstat(int(f.Fd()), &st)
	}
	if err != nil {
		t.Fatal(err)
	}
	all := ^executor.Caps(0)
	for name, security := range map[string]executor.Security{"insecure": {Insecure: true},
		"capabilities": {Caps: &all, NoFilter: true}, "usual": {}} {
		b := newBox(t)
		b.addSelf()
		s := b.step("/self", "escape")
		s.Security, s.Env = security, []string{fmt.Sprintf("%s=%d %d", envEscape, id, st.Ino)}
		if got := b.output(s); got != "escaped: false\n" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func ioctlUint64(f *os.File, request uintptr) (value uint64, err error) {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&value))); errno != 0 {
		err = errno
	}
	return value, err
}
