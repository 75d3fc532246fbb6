package emulator

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
)

// ErrRegister is behind the errors about emulators that could not be made known to the kernel.
var ErrRegister = errors.New("register emulator")

// hostHandlers is where the machine's own list of handlers is usually mounted.
const hostHandlers = "/proc/sys/fs/binfmt_misc"

// Handled tells whether the machine has an emulator registered for the architecture that works in every root directory.
// It reads the list of handlers in the caller's mount namespace; without a list the answer is no.
func Handled(arch string) bool { return handledIn(hostHandlers, arch) }

func handledIn(dir, arch string) bool {
	m, ok := machineOf(arch)
	if !ok {
		return false
	}
	if status, err := os.ReadFile(filepath.Join(dir, "status")); err != nil ||
		strings.TrimSpace(string(status)) != "enabled" {
		return false
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if name := e.Name(); name != "status" && name != "register" && takes(filepath.Join(dir, name), m.head(elfExec)) {
			return true
		}
	}
	return false
}

// takes tells whether the handler at path is for programs with this head, and has the flag F: without it the emulator
// would have to be in every image.
func takes(path string, head []byte) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	enabled, offset, fixed := false, 0, false
	var magic, mask []byte
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		switch key {
		case "enabled":
			enabled = true
		case "flags:":
			fixed = strings.Contains(value, "F")
		case "offset":
			if offset, err = strconv.Atoi(value); err != nil {
				return false
			}
		case "magic":
			magic, _ = hex.DecodeString(value)
		case "mask":
			mask, _ = hex.DecodeString(value)
		}
	}

	if !enabled || !fixed || len(magic) == 0 || offset < 0 || offset+len(magic) > len(head) {
		return false
	}
	for i, b := range magic {
		bits := byte(0xff)
		if i < len(mask) {
			bits = mask[i]
		}
		if (head[offset+i]^b)&bits != 0 {
			return false
		}
	}

	return true
}

// Executes tells whether the processor and the kernel execute programs of the architecture without an emulator: those
// of the machine's own architecture, and of the 32-bit one of its family if a tiny program of that can be run.
func Executes(arch string) bool {
	if arch == runtime.GOARCH {
		return true
	}
	if pair := runtime.GOARCH + " " + arch; pair != "amd64 386" && pair != "arm64 arm" {
		return false
	}
	fd, err := unix.MemfdCreate("cooper-probe", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), "probe")
	defer f.Close()
	if _, err := f.Write(probe(arch)); err != nil {
		return false
	}
	// The file is opened again, for reading: a file that is open for writing can't be executed.
	program, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil || f.Close() != nil {
		return false
	}
	defer program.Close()
	return (&exec.Cmd{Path: fmt.Sprintf("/proc/self/fd/%d", program.Fd()), Args: []string{"probe"}}).Run() == nil
}

// probe is a whole program of a 32-bit architecture: exit(0).
func probe(arch string) []byte {
	m, _ := machineOf(arch)
	code := []byte{0x31, 0xdb, 0x31, 0xc0, 0x40, 0xcd, 0x80} // xor ebx, ebx; xor eax, eax; inc eax; int 0x80
	if arch == "arm" {
		code = []byte{0, 0, 0xa0, 0xe3, 1, 0x70, 0xa0, 0xe3, 0, 0, 0, 0xef} // mov r0, 0; mov r7, 1; svc 0
	}

	const (
		headSize    = 52
		segmentSize = 32
		address     = 0x10000
		text        = headSize + segmentSize
	)

	b := bytes.NewBuffer(m.head(elfExec))
	size, flags := uint32(text+len(code)), uint32(0)
	if m.arch == "arm" {
		flags = 5 << 24 // the version of its ABI
	}

	for _, v := range []any{
		// version, entry, program headers, section headers, flags, sizes and counts
		uint32(1), uint32(address + text), uint32(headSize), uint32(0), flags,
		uint16(headSize), uint16(segmentSize), uint16(1), uint16(0), uint16(0), uint16(0),
		// one segment with all of it, readable and executable
		uint32(1), uint32(0), uint32(address), uint32(address), size, size, uint32(5), uint32(0x1000),
	} {
		if err := binary.Write(b, binary.LittleEndian, v); err != nil {
			return nil
		}
	}

	return append(b.Bytes(), code...)
}

// Find looks for the static emulator of an architecture in the directories of PATH; ok is false if there is
// none.
func Find(arch string) (e Emulator, ok bool) {
	for _, name := range Names(arch) {
		path, err := exec.LookPath(name)
		if err != nil || !filepath.IsAbs(path) || strings.ContainsAny(path, "\n\x00") {
			continue
		}
		if static, err := isStatic(path); err == nil && static {
			return Emulator{Arch: arch, Path: path}, true
		}
	}
	return Emulator{}, false
}

// isStatic tells whether a program of this machine needs no dynamic loader.
func isStatic(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()

	// struct Elf64_Ehdr from e_phoff on: the machine's own programs are 64-bit little endian.
	var head struct {
		Ident                                  [16]byte
		Type, Machine                          uint16
		Version                                uint32
		Entry, Phoff, Shoff                    uint64
		Flags                                  uint32
		Ehsize, Phentsize, Phnum, Shentsize, _ uint16
	}
	if err := binary.Read(f, binary.LittleEndian, &head); err != nil {
		return false, err
	}

	if string(head.Ident[:5]) != "\x7fELF\x02" || head.Ident[5] != 1 {
		return false, fmt.Errorf("%s is no 64-bit program", path)
	}
	const interpreter = 3 // PT_INTERP
	for i := range int64(head.Phnum) {
		kind := make([]byte, 4)
		if _, err := f.ReadAt(kind, int64(head.Phoff)+i*int64(head.Phentsize)); err != nil {
			return false, err
		}
		if binary.LittleEndian.Uint32(kind) == interpreter {
			return false, nil
		}
	}

	return true, nil
}

// RegisterIn tells the kernel about an emulator in a list that mountHandlersIn has given.
func RegisterIn(list *os.File, e Emulator) error {
	m, ok := machineOf(e.Arch)
	if !ok {
		return fmt.Errorf("no architecture %q", e.Arch)
	}
	fd, err := unix.Openat(int(list.Fd()), "register", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(e.register(m)))
	return err
}

// MountListIn mounts the list of a user namespace. A process of many threads can't enter it; a child that shares
// the descriptors can, and what it opens is ours.
func MountListIn(ns *os.File) (*os.File, error) {
	spare, err := os.Open("/dev/null")
	if err != nil {
		return nil, err
	}
	defer spare.Close()
	var p rawproc.Program
	p.Add(rawproc.Op{Doing: "enter the user namespace", Trap: unix.SYS_SETNS,
		Args: [6]uintptr{ns.Fd(), unix.CLONE_NEWUSER}})

	// Mounting takes a mount namespace that belongs to the user namespace.
	p.Add(rawproc.Op{Doing: "make a mount namespace", Trap: unix.SYS_UNSHARE, Args: [6]uintptr{unix.CLONE_NEWNS}})
	fs := p.Add(rawproc.Op{
		Doing: "open binfmt_misc", Trap: unix.SYS_FSOPEN, Args: [6]uintptr{p.String("binfmt_misc"), unix.FSOPEN_CLOEXEC},
	})

	// Only the next operation can use a result, and this one is needed twice; so it gets a known descriptor number.
	p.AddFed(rawproc.Op{Doing: "keep binfmt_misc", Trap: unix.SYS_DUP3, Args: [6]uintptr{0, spare.Fd(), unix.O_CLOEXEC}},
		fs, 0)
	p.Add(rawproc.Op{Doing: "make binfmt_misc", Trap: unix.SYS_FSCONFIG,
		Args: [6]uintptr{spare.Fd(), unix.FSCONFIG_CMD_CREATE}})
	mount := p.Add(rawproc.Op{Doing: "mount binfmt_misc", Trap: unix.SYS_FSMOUNT,
		Args: [6]uintptr{spare.Fd(), unix.FSMOUNT_CLOEXEC}})
	child, err := p.Start(unix.CLONE_FILES)
	if err != nil {
		return nil, err
	}

	_, _, err = child.Reap()
	failed := new(rawproc.Failure)
	if opened := !errors.As(err, &failed) || failed.Op > fs; opened {
		_ = unix.Close(p.Result(fs))
	}
	if err != nil {
		return nil, err
	}

	return os.NewFile(uintptr(p.Result(mount)), "binfmt_misc"), nil
}

// OtherFormats says that this machine may execute more than this package knows of.
func OtherFormats() bool {
	entries, err := os.ReadDir(hostHandlers)
	return err == nil && len(entries) > 2
}
