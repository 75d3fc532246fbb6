package executor_test

import (
	"fmt"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"
)

// int80 makes a function that makes system calls by the 32-bit ABI. Go passes the arguments in AX, BX, CX and DI.
func int80() (func(trap, a1, a2, a3 uint32) int32, error) {
	code := []byte{
		0x89, 0xfa, // mov edx, edi
		0xcd, 0x80, // int 0x80
		0xc3, // ret
	}
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	copy(page, code)
	closure := &struct{ code *byte }{&page[0]}
	return *(*func(trap, a1, a2, a3 uint32) int32)(unsafe.Pointer(&closure)), nil
}

// try32 tries to go round the filter by the older ABI.
func try32() (wrong []string) {
	debug.SetPanicOnFault(true)
	defer func() { _ = recover() }() // this kernel has no 32-bit ABI
	const enosys, eperm, eafnosupport = -38, -1, -97
	call, err := int80()
	if err != nil {
		return []string{err.Error()}
	}
	for _, c := range []struct {
		name             string
		trap, a1, a2, a3 uint32
		want             int32
	}{
		{"unshare32", 310, 0, 0, 0, eperm},
		{"mount32", 21, 0, 0, 0, eperm},
		{"umount32", 22, 0, 0, 0, eperm},
		{"clone32", 120, unix.CLONE_NEWUSER, 0, 0, eperm},
		{"socket32 AF_VSOCK", 359, 40, 1, 0, eafnosupport},
		{"socketcall32 socket", 102, 1, 0, 0, enosys},
		{"keyctl32", 288, 0, 0, 0, eperm},
		{"future32", 2000, 0, 0, 0, enosys},
	} {
		if got := call(c.trap, c.a1, c.a2, c.a3); got != c.want {
			wrong = append(wrong, fmt.Sprintf("%s: %d, want %d", c.name, got, c.want))
		}
	}
	return wrong
}
