package userns

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// subIDLines are n lines of alice's that leave gaps, from an ID on.
func subIDLines(n int, start uint32) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "alice:%d:1\n", start+uint32(2*i))
	}
	return b.String()
}

func TestRangesThatMakeNoMapAreErrorsWithTheirLine(t *testing.T) {
	const good = "alice:100000:65536\n"
	for _, test := range []struct {
		name, subuid, subgid string
		want                 string // SUBUID and SUBGID stand for the paths
	}{
		{"own user ID", "# first\nbob:300000:5\nalice:1000:5\n", good,
			`SUBUID:3: the range "alice:1000:5" holds alice's own user ID 1000, which can't be mapped twice; in place of that: alice:300005:65536`},
		{"in the middle", "alice:0:65536\n", good,
			`SUBUID:1: the range "alice:0:65536" holds alice's own user ID 1000, which can't be mapped twice; in place of that: alice:100000:65536`},
		{"by number, in the second line", "alice:200000:5\n1000:990:20\n", good,
			`SUBUID:2: the range "alice:990:20" holds alice's own user ID 1000, which can't be mapped twice; in place of that: alice:200005:65536`},
		{"own group ID", good, "alice:100:5\n",
			`SUBGID:1: the range "alice:100:5" holds alice's own group ID 100, which can't be mapped twice; in place of that: alice:100000:65536`},
		{"one range too many", subIDLines(340, 100000), good,
			`SUBUID: alice has 340 ranges, 341 with the own ID, and the kernel takes 340 in a map; in place of that: alice:100679:65536`},
		{"a page too long", good, subIDLines(339, 4000000000),
			fmt.Sprintf(`SUBGID: alice has 339 ranges, 340 with the own ID, a map of 5663 bytes, and the kernel takes less than %d; in place of that: alice:4000000677:65536`, os.Getpagesize())},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := etc(t, test.subuid, test.subgid, "")
			_, _, err := f.UserMap(t.Context(), alice, 100)
			want := strings.NewReplacer("SUBUID", f.SubUID, "SUBGID", f.SubGID).Replace(test.want)
			if !errors.Is(err, ErrBadSubIDs) || err.Error() != want {
				t.Errorf("error is\n%v\nwant\n%s", err, want)
			}
		})
	}
}

func TestASourceOfBadRangesIsNamed(t *testing.T) {
	f := withGetsubids(t, etc(t, "", "", "subid: sss\n"))
	_, _, err := f.UserMap(t.Context(), User{Name: "alice", ID: 300005}, 100)
	if !errors.Is(err, ErrBadSubIDs) || !strings.Contains(err.Error(), `300000:10" holds alice's own user ID 300005`) ||
		!strings.Contains(err.Error(), `source "sss"`) {
		t.Errorf("error is %v", err)
	}
}

func TestTheMapOfRootsStepsMayHaveAllTheRangesThatTheKernelTakes(t *testing.T) {
	for n, ok := range map[int]bool{340: true, 341: false} {
		f := etc(t, subIDLines(n, 1), subIDLines(n, 1), "")
		sub, err := f.Find(t.Context(), alice)
		if err != nil {
			t.Fatal(err)
		}
		m, err := f.StepMap(alice, sub)
		if !ok && !strings.Contains(err.Error(), "alice has 341 ranges, and the kernel takes 340") {
			t.Errorf("error is %v", err)
		}
		if ok && (err != nil || len(m.UIDs) != n) || !ok && !errors.Is(err, ErrBadSubIDs) {
			t.Errorf("%d ranges give %v, %v", n, m, err)
		}
	}
}

// A line that newuidmap passes over must not be taken for good.
func TestTheOwnersLineIsReadAsNewuidmapReadsIt(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"alice:165536:65536\r",
			`"alice:165536:65536\r" ends with a carriage return, and newuidmap passes over it; a right line is alice:165536:65536`},
		{" alice:165536:65536", "has space around it"},
		{"alice:165536:65536\t", "has space around it"},
		{"1000:165536:65536\r", "a right line is 1000:165536:65536"},
		{"alice:0165536:65536",
			`has "0165536" with a zero in front, which newuidmap takes for octal; a right line is alice:165536:65536`},
		{"alice:165536:065536", "takes for octal"},
		{"alice:165536:65536" + strings.Repeat(" ", 1100) + "x", "has "},
		{strings.Repeat("x", 200000), "the line is longer than 1023 bytes; correct or remove that line"},
	} {
		f := etc(t, "bob:1:2\n"+test.line+"\n", "alice:165536:65536\n", "")
		_, err := f.Find(t.Context(), alice)
		if !errors.Is(err, ErrBadSubIDs) || !strings.HasPrefix(err.Error(), f.SubUID+":2: ") ||
			!strings.Contains(err.Error(), test.want) {
			t.Errorf("%.40q gives %v", test.line, err)
		}
	}
}

// Root writes its maps without newuidmap.
func TestRootsLineMayHaveSpaceAroundIt(t *testing.T) {
	f := etc(t, " root:1:2\r\n", "root:1:2\r\n", "")
	sub, err := f.Find(t.Context(), User{Name: "root", ID: ^uint32(0)})
	if err != nil || len(sub.UIDs) != 1 || len(sub.GIDs) != 1 {
		t.Errorf("ranges are %v, %v", sub, err)
	}
}

func TestAFileThatCannotBeReadIsNamedWithWhatHelps(t *testing.T) {
	f := etc(t, "absent", "", "")
	if err := os.Mkdir(f.SubUID, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := f.Find(t.Context(), alice)
	if !errors.Is(err, ErrBadSubIDs) ||
		err.Error() != f.SubUID+": it can't be read: is a directory; it must be a text file" {
		t.Errorf("error is %v", err)
	}
	if err := unreadable("/etc/subuid",
		&os.PathError{Op: "open",
			Err: os.ErrPermission}); err.Error() != "/etc/subuid: it can't be read: permission denied; run as root: chmod 644 /etc/subuid" {
		t.Errorf("error is %v", err)
	}
}

// useradd gives ranges from 100000 on, and in a company that is where users are, too.
func TestAProposedRangeLeavesTheOwnIDOut(t *testing.T) {
	f := etc(t, "", "", "")
	_, err := f.Find(t.Context(), User{Name: "alice", ID: 120000})
	if err == nil || !strings.Contains(err.Error(), "--add-subuids 120001-185536 --add-subgids 120001-185536") {
		t.Errorf("error is %v", err)
	}
}

func TestAMapThatTheKernelWouldNotTakeIsRefusedBeforehand(t *testing.T) {
	var flags []string
	for i := range 339 {
		flags = append(flags, fmt.Sprintf("%d:%d", 4000000000+2*i, 2*i))
	}
	req, err := request(t, testCaller(t, false), "", strings.Join(flags, " "), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Resolve(req); !errors.Is(err, ErrBadRequest) ||
		!strings.Contains(err.Error(), "when written, and the kernel takes less than") {
		t.Errorf("error is %v", err)
	}
}
