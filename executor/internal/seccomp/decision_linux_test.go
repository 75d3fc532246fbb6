package seccomp

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// decisionFile has, between the marks, the table that the test makes.
const (
	decisionFile = "../../../docs/decisions/seccomp.md"
	beginMark    = "<!-- made by go test ./executor/internal/seccomp -update -->\n"
	endMark      = "<!-- end -->\n"
)

// engines gives the engines' list as it stands.
func engines(t *testing.T) []unix.SockFilter {
	t.Helper()
	d := moby.DefaultProfile()
	p := &specs.LinuxSeccomp{DefaultAction: d.DefaultAction, DefaultErrnoRet: d.DefaultErrnoRet,
		Architectures: archs(machine())}
	for _, r := range d.Syscalls {
		if applies(r, usual()) {
			p.Syscalls = append(p.Syscalls, r.LinuxSyscall)
		}
	}
	program, err := rules{profile: p}.assemble(machine())
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// samples are arguments of calls whose arguments count.
func samples(call string) map[string][]uint64 {
	list := map[string][]uint64{}
	switch call {
	case "socket":
		for family := range uint64(46) {
			list[fmt.Sprintf("family %d", family)] = []uint64{family}
		}
	case "personality":
		for bit := range 32 {
			list[fmt.Sprintf("%#x", uint64(1)<<bit)] = []uint64{1 << bit}
		}
		list["0x40008"], list["0x60000"], list["0x60008"] = []uint64{0x40008}, []uint64{0x60000}, []uint64{0x60008}
	case "ioctl":
		list["TIOCSTI"], list["TIOCLINUX"] = []uint64{0, unix.TIOCSTI}, []uint64{0, tioclinux}
	case socketcall:
		list["SYS_SOCKET"] = []uint64{socketcallSocket}
	default:
		list[""] = nil
	}
	return list
}

func shown(verdict uint32) string {
	if verdict == allowed {
		return "allowed"
	}
	return unix.ErrnoName(unix.Errno(verdict & unix.SECCOMP_RET_DATA))
}

// reasons are those why cooper denies what the engines' list allows, and why it gives another error.
func reasons() map[string]string {
	return map[string]string{
		"ioctl":    "they type into a terminal, which may be the caller's",
		socketcall: "it makes sockets of every family unseen: its arguments are in memory",
		"socket":   "the error that a kernel without the family gives, which programs know",
	}
}

// TestTheDecisionListsEveryDifference compares the default filter with the engines' list, in both ways to call the
// machine, on all calls.
func TestTheDecisionListsEveryDifference(t *testing.T) {
	if machine()[0].name != specs.ArchX86_64 {
		return // the page shows amd64's
	}
	own, theirs := defaultFilter(t, usual()...).Program(), engines(t)
	why := reasons()
	for _, c := range Changes() {
		for _, call := range c.Calls {
			why[call] = c.Why
		}
	}
	rows := map[string][]string{} // calls of equal rows
	for _, a := range machine() {
		for call, nr := range a.calls {
			for arg, args := range samples(call) {
				got, other := evaluate(t, own, a.arch, nr, args...), evaluate(t, theirs, a.arch, nr, args...)
				if got == other {
					continue
				}
				if why[call] == "" {
					t.Errorf("%s differs, and nothing says why", call)
				}
				name := "`" + call + "`"
				if arg != "" {
					name = "`" + call + "(" + arg + ")`"
				}
				row := fmt.Sprintf("%s | %s | %s |", shown(other), shown(got), why[call])
				rows[row] = append(rows[row], name)
			}
		}
	}
	text := "| call | the engines' list | cooper | because |\n|---|---|---|---|\n"
	var lines []string
	for row, calls := range rows {
		slices.Sort(calls)
		lines = append(lines, "| "+strings.Join(slices.Compact(calls), ", ")+" | "+row+"\n")
	}
	slices.Sort(lines)
	page, err := os.ReadFile(decisionFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks", decisionFile)
	}
	compare(t, decisionFile, before+beginMark+text+strings.Join(lines, "")+endMark+after)
}
