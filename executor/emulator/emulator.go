package emulator

import (
	"bytes"
	"encoding/hex"
	"strings"
)

// An Emulator executes the programs of an architecture that this machine can't execute by itself: a static qemu user
// emulator.
type Emulator struct {
	// Arch is the architecture as OCI images name it, such as "arm64".
	Arch string
	// Path is the emulator's own program, absolute, as the caller sees it. It must be statically linked: a step's root has
	// no libraries for it. The step sees nothing of it.
	Path string
}

// elfMachine describes an architecture by the fields in the head of its programs.
// https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
type elfMachine struct {
	arch  string
	qemu  string // the architecture's name in the names of qemu's programs
	class byte   // 1: 32 bits, 2: 64 bits
	data  byte   // 1: little endian, 2: big endian
	code  uint16 // e_machine
}

func elfMachines() []elfMachine {
	return []elfMachine{
		{"386", "i386", 1, 1, 3},
		{"amd64", "x86_64", 2, 1, 62},
		{"arm", "arm", 1, 1, 40},
		{"arm64", "aarch64", 2, 1, 183},
		{"loong64", "loongarch64", 2, 1, 258},
		{"mips", "mips", 1, 2, 8},
		{"mipsle", "mipsel", 1, 1, 8},
		{"mips64", "mips64", 2, 2, 8},
		{"mips64le", "mips64el", 2, 1, 8},
		{"ppc64", "ppc64", 2, 2, 21},
		{"ppc64le", "ppc64le", 2, 1, 21},
		{"riscv64", "riscv64", 2, 1, 243},
		{"s390x", "s390x", 2, 2, 22},
	}
}

func machineOf(arch string) (elfMachine, bool) {
	for _, m := range elfMachines() {
		if m.arch == arch {
			return m, true
		}
	}
	return elfMachine{}, false
}

// Names are the names that the emulator for an architecture goes by, likeliest first; none for an architecture
// that has none.
func Names(arch string) []string {
	m, ok := machineOf(arch)
	if !ok {
		return nil
	}
	return []string{"qemu-" + m.qemu + "-static", "qemu-" + m.qemu}
}

// Archs are the architectures for which there are emulators, sorted.
func Archs() []string {
	var archs []string
	for _, m := range elfMachines() {
		archs = append(archs, m.arch)
	}
	return archs
}

const (
	elfExec = 2
	elfDyn  = 3
	// headLength is how much of a program's head tells its architecture: e_ident, e_type and e_machine.
	headLength = 20
)

// head gives the first headLength bytes of a program of the architecture; kind is elfExec or elfDyn.
func (m elfMachine) head(kind byte) []byte {
	h := make([]byte, headLength)
	copy(h, "\x7fELF")
	h[4], h[5], h[6] = m.class, m.data, 1
	m.put(h[16:], uint16(kind))
	m.put(h[18:], m.code)
	return h
}

// ArchOfHead is the architecture that a program with this beginning is for, "" if it is none that is known here.
func ArchOfHead(program []byte) string {
	for _, m := range elfMachines() {
		want := m.head(elfDyn) // elfExec would do as well: only class, byte order and machine are compared
		if len(program) >= headLength && bytes.Equal(program[4:6], want[4:6]) && bytes.Equal(program[18:20], want[18:20]) {
			return m.arch
		}
	}
	return ""
}

func (m elfMachine) put(b []byte, v uint16) {
	b[0], b[1] = byte(v), byte(v>>8)
	if m.data == 2 {
		b[0], b[1] = b[1], b[0]
	}
}

// mask has the bits of the head that are compared. The ABI isn't, and the type may be elfExec or elfDyn.
func (m elfMachine) mask() []byte {
	b := make([]byte, headLength)
	for i := range b {
		if i < 7 || i >= 16 {
			b[i] = 0xff
		}
	}
	m.put(b[16:], ^uint16(elfExec^elfDyn))
	return b
}

// register gives the line that registers the emulator with the kernel.
// https://docs.kernel.org/admin-guide/binfmt-misc.html
//
// The flags: F opens the emulator now, so that it is found whatever root directory the program is executed in. O hands
// it the program as a descriptor, P its argv[0] as it was given; C makes set-user-ID programs what they are without
// emulation.
func (e Emulator) register(m elfMachine) string {
	escape := func(b []byte) string {
		var s strings.Builder
		for _, c := range b {
			s.WriteString(`\x` + hex.EncodeToString([]byte{c}))
		}
		return s.String()
	}
	separator := ":"
	for _, other := range []string{"|", ",", ";", "%", "+"} {
		if !strings.Contains(e.Path, separator) {
			break
		}
		separator = other
	}
	fields := []string{"", handlerName(m), "M", "0", escape(m.head(elfExec)), escape(m.mask()), e.Path, "POCF"}
	return strings.Join(fields, separator)
}

func handlerName(m elfMachine) string { return "cooper-" + m.qemu }
