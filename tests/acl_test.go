package tests_test

import (
	"encoding/binary"
	"math"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// defaultACL gives user 1005 all rights to whatever is made in a directory, in the form of linux/posix_acl_xattr.h.
func defaultACL() []byte {
	acl := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 7, math.MaxUint32}, {2, 7, 1005}, {4, 5, math.MaxUint32}, {0x10, 7, math.MaxUint32}, {0x20, 5, math.MaxUint32}} {
		acl = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(acl, e.tag), e.perm)
		acl = binary.LittleEndian.AppendUint32(acl, e.id)
	}
	return acl
}

// TestAccessControlListAboveTheStoreIsInNoImage has a default list on the directory that the store is made in.
func TestAccessControlListAboveTheStoreIsInNoImage(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.env = append(s.env, "SOURCE_DATE_EPOCH=1000000000")
		if err := s.makeBusybox(); err != nil {
			t.Fatal(err)
		}
		s.mkdir(t, "acl")
		if err := unix.Setxattr(s.path("acl"), "system.posix_acl_default", defaultACL(), 0); err != nil {
			t.Fatal(err)
		}
		s.write(t, "busybox/More",
			busyboxfile+"WORKDIR /w\nCOPY More /more/\nRUN umask 077; mkdir /d; echo >/d/f\nCOPY More /d/\n")
		second := "--userns=keep-id"
		if m.root() {
			second = "--userns=auto"
		}
		first := ""
		for _, args := range [][]string{
			nil, {"--root", s.path("acl/s")}, {"--root", s.path("acl/s"), second},
			{"--root", s.path("acl/vfs"), "--storage-driver=vfs"},
		} {
			id := s.build(t, append(args, "-q", "--no-cache", "-f", "busybox/More", "busybox")...)
			if first == "" {
				first = id
			}
			if id != first {
				t.Errorf("%q gives %s, not %s", args, id, first)
			}
		}
		if _, err := os.Stat(s.path("acl/s/cooper")); err != nil {
			t.Error(err)
		}
	})
}

// TestAsRootLayersGetTheDriversLabel gives the driver's directory an SELinux label, which needs no kernel that enforces
// one. Layers are made elsewhere, and take the label of that place along when they are renamed.
func TestAsRootLayersGetTheDriversLabel(t *testing.T) {
	t.Parallel()
	const name, label = "security.selinux", "system_u:object_r:container_ro_file_t:s0"
	s := newSite(t, suite.modes[0])
	s.mkdir(t, "store/overlay")
	if err := unix.Setxattr(s.path("store/overlay"), name, []byte(label), 0); err != nil {
		t.Fatal(err)
	}
	s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY Containerfile /\n")
	s.build(t, "--root", s.path("store"), "--runroot", s.path("run/s"), "ctx")
	got := make([]byte, 100)
	n, err := unix.Getxattr(s.path("store/cooper/tmp"), name, got)
	if err != nil || string(got[:n]) != label {
		t.Errorf("the label is %q, %v", got[:max(n, 0)], err)
	}
}
