package spec_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cooperbuild/cooper/executor/spec"
	"github.com/cooperbuild/cooper/userns"
)

var update = flag.Bool("update", false, "write the golden files")

func mapping(t *testing.T, ranges ...userns.Range) userns.Map {
	t.Helper()
	m, err := userns.NewMap(ranges...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func containers(t *testing.T) map[string]spec.Container {
	t.Helper()
	tty := uint32(5)
	ids := mapping(t, userns.Range{Container: 0, Host: 1, Length: 1000},
		userns.Range{Container: 1000, Host: 5000, Length: 10})
	return map[string]spec.Container{
		"plain": {
			Args: []string{"/bin/sh", "-c", "true"}, Env: []string{"PATH=/bin", "HOME=/root"}, Hostname: "cooper",
			Root: "rootfs",
			Caps: []string{"CAP_CHOWN", "CAP_KILL"}, ShmSize: 64 << 20, Sys: "/mnt/sys", TTYGroup: &tty,
			Masked: []string{"/proc/kcore"}, Locked: []string{"/proc/sys"},
		},
		"everything": {
			Args: []string{"make"}, Env: []string{"A=1"}, Cwd: "/src", Hostname: "box", Root: "rootfs",
			User: spec.User{UID: 1000, GID: 1001, Groups: []uint32{5, 50}}, Caps: []string{"CAP_CHOWN"}, NoNewPrivs: true,
			Limits:  []spec.Limit{{Name: "RLIMIT_NOFILE", Soft: 1, Hard: 2}, {Name: "RLIMIT_CORE", Hard: ^uint64(0)}},
			ShmSize: 1 << 20,
			Mounts: []spec.Mount{
				{Source: "/mnt/room/etc/hosts", Target: "/etc/hosts"}, {Source: "/mnt/mount1", Target: "/cache", ReadOnly: true},
			},
			LoopbackOnly: true, UserNS: &spec.UserNS{UIDs: ids, GIDs: mapping(t, userns.Range{Host: 100000, Length: 65536})},
			Filter: &spec.Filter{
				Archs: []string{"amd64", "386", "arm64", "arm"},
				Denied: []spec.Denied{
					{Calls: []string{"mount", "bpf", "mount"}, Errno: 1}, {Calls: []string{"clone3"}, Errno: 38},
				},
				Args: []spec.ArgRule{
					{Call: "clone", Mask: true, Values: []uint32{0x10020000}, Errno: 1},
					{Call: "socket", Values: []uint32{38, 40}, Errno: 97}, {Call: "ioctl", Arg: 1, Values: []uint32{0x5412}, Errno: 1},
				},
			},
		},
		"insecure": {
			Args: []string{"true"}, Hostname: "cooper", Root: "rootfs", Caps: []string{"CAP_SYS_ADMIN"}, Ambient: true,
			ShmSize: 1,
			Sys:     "/mnt/sys", WritableSys: true,
		},
		"joined": {
			Args: []string{"true"}, Hostname: "cooper", Root: "rootfs", ShmSize: 1, Sys: "/mnt/sys",
			UserNS: &spec.UserNS{
				Path: "/mnt/userns", GIDs: []userns.Range{{Host: 100000, Length: 65536}},
				UIDs: []userns.Range{{Container: 1000, Host: 5000, Length: 10}, {Host: 1, Length: 1000}},
			},
		},
	}
}

func TestConfigOfAStep(t *testing.T) {
	for name, c := range containers(t) {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(spec.Config(c), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			golden := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFilterDecides applies the rules as a runtime's library does.
func TestFilterDecides(t *testing.T) {
	seccomp := spec.Config(containers(t)["everything"]).Linux.Seccomp
	for _, test := range []struct {
		call string
		args [2]uint64
		want uint
	}{
		{"read", [2]uint64{}, 0}, {"mount", [2]uint64{}, 1}, {"clone3", [2]uint64{}, 38},
		{"clone", [2]uint64{0x11}, 0}, {"clone", [2]uint64{0x10000011}, 1}, {"clone", [2]uint64{0x20000}, 1},
		{"socket", [2]uint64{38}, 97}, {"socket", [2]uint64{7<<32 | 40}, 97}, {"socket", [2]uint64{2}, 0},
		{"ioctl", [2]uint64{0, 0x5412}, 1}, {"ioctl", [2]uint64{0x5412, 0}, 0}, {"ioctl", [2]uint64{0, 1<<32 | 0x5412}, 1},
	} {
		if got := decide(seccomp, test.call, test.args); got != test.want {
			t.Errorf("%s %x: error %d, want %d", test.call, test.args, got, test.want)
		}
	}
}

func decide(s *specs.LinuxSeccomp, call string, args [2]uint64) uint {
	for _, rule := range s.Syscalls {
		matches := true
		for _, a := range rule.Args {
			matches = matches && args[a.Index]&a.Value == a.ValueTwo
		}
		for _, name := range rule.Names {
			if name == call && matches {
				return *rule.ErrnoRet
			}
		}
	}
	return 0
}
