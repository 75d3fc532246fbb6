package tests_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestAsRootDiskThatTakesNoMore fills the disk of the store, in blocks and in inodes, at every stage of a build: small
// disks are full early, larger ones late. Nothing of the failed build is left, and what the message proposes works.
func TestAsRootDiskThatTakesNoMore(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, disk := range []struct {
			size, inodes int
			want         string
		}{{1, 500, "is full"}, {3, 2000, "is full"}, {6, 2000, "is full"}, {9, 2000, "is full"},
			{40, 60, "or has no inodes left"}, {40, 500, "or has no inodes left"}} {
			t.Run(fmt.Sprint(disk.size, " MiB ", disk.inodes, " inodes"), func(t *testing.T) {
				s := newSite(t, m)
				s.write(t, "ctx/Containerfile",
					"FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"/bin\"]\nCOPY big /big\n"+
						"RUN for i in $(seq 500); do echo >/f$i; done; true\n")
				s.write(t, "ctx/big", strings.Repeat("0123456789abcdef", 8<<16))
				if err := copyBusybox(s.path("ctx/busybox")); err != nil {
					t.Fatal(err)
				}
				s.smallDisk(t, disk.size, disk.inodes)
				s.mkdir(t, "disk/fill")
				store := []string{"--root", s.path("disk/s"), "--runroot", s.path("disk/r")}
				r := s.cooper(t, append([]string{"build", "-q", "--userns=" + map[bool]string{true: "host",
					false: "keep-id"}[m.root()], "ctx"}, store...)...)
				r.fails(t, 125, "the disk that holds "+s.path("disk/s"), disk.want, "hint: cooper prune")
				if left, err := os.ReadDir(s.path("disk/s/cooper/tmp")); err != nil && !os.IsNotExist(err) || len(left) > 0 {
					t.Errorf("left in the store: %v %v", left, err)
				}
				if disk.inodes < 100 {
					return // there isn't even a store
				}
				s.fillInodes(t)
				if r := s.cooper(t, append([]string{"prune", "--all", "--force"}, store...)...); r.Code != 0 {
					t.Errorf("prune: status %d\n%s", r.Code, r.Stderr)
				}
			})
		}
	})
}

// fillInodes uses up what inodes or blocks the disk has left.
func (s *site) fillInodes(t *testing.T) {
	t.Helper()
	for i := range 1 << 16 {
		if err := os.WriteFile(s.path(fmt.Sprint("disk/fill/", i)), nil, 0o600); err != nil {
			return
		}
	}
	t.Fatal("the disk has too many inodes")
}

func TestAsRootStoreThatCannotBeWrittenTo(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY Containerfile /\n")
		s.smallDisk(t, 20, 2000)
		args := []string{"build", "-q", "--no-cache", "--root", s.path("disk/s"), "--runroot", s.path("disk/r"), "ctx"}
		s.cooper(t, args...).succeeds(t)
		if err := tool("mount", "-o", "remount,ro", s.path("disk")); err != nil {
			t.Fatal(err)
		}
		s.cooper(t, args...).fails(t, 125, "mounted read-only", "hint: --root")
		if m.root() {
			return
		}
		args[4] = "/nowhere/s"
		s.cooper(t, args...).fails(t, 125, "hint: ", "/nowhere/s", "must be writable")
	})
}
