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
			Filter: &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86_64},
				Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow}}},
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
