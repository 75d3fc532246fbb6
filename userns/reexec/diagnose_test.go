package reexec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns"
)

// fakeProc makes a proc of these files. Every one has the basics of a machine
// with nothing wrong.
func fakeProc(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{
		"self/ns/user":                 "",
		"self/status":                  "Name:\tx\nNoNewPrivs:\t0\nSeccomp:\t0\n",
		"self/mountinfo":               "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n",
		"self/uid_map":                 "         0          0 4294967295\n",
		"self/gid_map":                 "         0          0 4294967295\n",
		"sys/user/max_user_namespaces": "15000\n",
		"sys/user/max_mnt_namespaces":  "15000\n",
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		if text == "absent" {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDiagnoseNamesTheCauseAndTheRemedy(t *testing.T) {
	for _, test := range []struct {
		name            string
		files           map[string]string
		cause           error
		problem, remedy string
	}{
		{"kernel without user namespaces", map[string]string{"self/ns/user": "absent"}, unix.EINVAL,
			"no user namespaces", "CONFIG_USER_NS=y"},
		{"no user namespaces allowed", map[string]string{"sys/user/max_user_namespaces": "0\n"}, unix.ENOSPC,
			"user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=15000"},
		{"no mount namespaces allowed", map[string]string{"sys/user/max_mnt_namespaces": "0\n"}, unix.ENOSPC,
			"user.max_mnt_namespaces is 0", "sysctl -w user.max_mnt_namespaces=15000"},
		{"all used up", nil, unix.ENOSPC, "no more user or mount namespaces", "sysctl -w user.max_user_namespaces"},
		{"nested too deep, old kernel", nil, unix.EUSERS, "32 user namespaces are nested", "sysctl"},
		{"process limit", nil, unix.EAGAIN, "limit on processes", "ulimit -u"},
		{"Debian's switch", map[string]string{"sys/kernel/unprivileged_userns_clone": "0\n"}, unix.EPERM,
			"kernel.unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"AppArmor forbids the clone", map[string]string{"sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"},
			unix.EACCES,
			"AppArmor", "apparmor_parser -r"},
		{"AppArmor forbids what is done inside", map[string]string{"sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"},
			fmt.Errorf("set mount propagation of /: %w", unix.EPERM), "AppArmor", "userns,"},
		{"the profile of a container", map[string]string{
			"self/attr/current": "cri-containerd.apparmor.d (enforce)\n",
			"sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
		}, fmt.Errorf("set mount propagation of /: %w", unix.EACCES), "AppArmor profile cri-containerd.apparmor.d",
			"appArmorProfile.type: Unconfined"},
		{"a profile that complains", map[string]string{"self/attr/current": "x (complain)\n", "self/status": "Seccomp:\t2\n"},
			unix.EACCES,
			"seccomp filter", "Unconfined"},
		{"SELinux", map[string]string{"self/attr/current": "system_u:system_r:container_t:s0:c1,c2"}, unix.EACCES, "SELinux",
			"label=disable"},
		{"seccomp", map[string]string{"self/status": "Seccomp:\t2\n"}, unix.EPERM,
			"seccomp filter", "--security-opt seccomp=unconfined"},
		{"seccomp, as if there were no such call", map[string]string{"self/status": "Seccomp:\t2\n"}, unix.ENOSYS,
			"seccomp filter", "seccompProfile.type: Unconfined"},
		{"seccomp is not to blame for a limit", map[string]string{"self/status": "Seccomp:\t2\n"}, unix.ENOSPC,
			"no more user", "sysctl"},
		{"chroot", map[string]string{"self/mountinfo": "22 1 0:5 / /proc rw - proc proc rw\n"}, unix.EPERM,
			"chroot", "pivot_root"},
		{"unknown", nil, unix.EPERM, "operation not permitted", "unshare --user"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Diagnose(fakeProc(t, test.files), test.cause)
			var me *MachineError
			if !errors.As(err, &me) {
				t.Fatalf("error is %T", err)
			}
			if !strings.Contains(me.Problem, test.problem) || !strings.Contains(me.Remedy, test.remedy) {
				t.Errorf("says %q, want %q and %q", err, test.problem, test.remedy)
			}
			if !errors.Is(err, errors.Unwrap(test.cause)) && !errors.Is(err, test.cause) {
				t.Errorf("the cause %v is lost", test.cause)
			}
		})
	}
	t.Run("no proc", func(t *testing.T) {
		if err := Diagnose(t.TempDir(), unix.ENOENT); !strings.Contains(err.Error(), "mount -t proc") {
			t.Errorf("says %q", err)
		}
	})
}

func testOptions(t *testing.T) Options {
	t.Helper()
	sub := []userns.SubIDRange{{Start: 100000, Count: 65536}}
	m, err := userns.Default(1000, 1001, userns.SubIDs{UIDs: sub, GIDs: sub})
	if err != nil {
		t.Fatal(err)
	}
	return Options{Mapping: m, UID: 1000, GID: 1001, UserName: "alice"}
}

func TestHelperFailureNamesTheCauseAndTheRemedy(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		said  string
		want  []string
	}{
		{"range not allowed", nil, "newgidmap: gid range [1-65537) -> [100000-165536) not allowed",
			[]string{"newgidmap does not allow the ID map that alice asks for", "/etc/subgid has a line alice:100000:65536"}},
		{"no_new_privs", map[string]string{"self/status": "NoNewPrivs:\t1\n"}, "newgidmap: write to gid_map failed",
			[]string{"no_new_privs is set", "allowPrivilegeEscalation: true"}},
		{"inside a container with few IDs", map[string]string{"self/uid_map": "0 1000 1\n1 100000 65536\n"},
			"newgidmap: write to gid_map failed: Operation not permitted",
			[]string{`host IDs 100000 to 165535 do not exist in the container around this, whose uid_map is "0 1000 1\n1 100000 65536"`, "give alice a range in /etc/subuid"}},
		{"another user, in words to come", nil, "newgidmap: Target process 7 is owned by a different user",
			[]string{"takes the process for another user's", "log in again"}},
		{"container without capabilities", nil, "newgidmap: write to gid_map failed: Operation not permitted",
			[]string{"can't be written: newgidmap: write to gid_map failed", "[SETUID, SETGID, SETFCAP]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := testOptions(t)
			h := helpers(o.Mapping)[1]
			err := h.diagnose(fakeProc(t, test.files), "/usr/bin/newgidmap", o, &helperError{"newgidmap", test.said, nil})
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("says %q, want %q", err, want)
				}
			}
		})
	}
}

func TestCoversTellsWhatTheOuterNamespaceHas(t *testing.T) {
	outer, err := userns.NewMap(userns.Range{Container: 0, Host: 1000, Length: 1},
		userns.Range{Container: 1, Host: 100000, Length: 99},
		userns.Range{Container: 200, Host: 300000, Length: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		host, length uint32
		want         bool
	}{{0, 100, true}, {0, 101, false}, {50, 10, true}, {100, 1, false}, {199, 2, false}, {200, 100, true},
		{250, 51, false}, {4000000000, 1, false}} {
		if got := covers(outer, userns.Range{Host: test.host, Length: test.length}); got != test.want {
			t.Errorf("covers %d IDs from %d: %v", test.length, test.host, got)
		}
	}
}

func TestChildEnvHoldsEachNameOnce(t *testing.T) {
	env := childEnv([]string{"A=1", "B=2", marker + "=old", "=odd"}, Options{Env: []string{"B=3", "C="}}, 9)
	want := fmt.Sprintf("A=1 =odd B=3 C= %s=9,%d,slave", marker, os.Getpid())
	if got := strings.Join(env, " "); got != want {
		t.Errorf("environment is %q, want %q", got, want)
	}
}

func TestWithoutContainerRootThereIsNoChild(t *testing.T) {
	m, err := userns.NewMap(userns.Range{Container: 1, Host: 100000, Length: 10})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Enter(t.Context(), Options{Mapping: userns.Mapping{UIDs: m, GIDs: m}}); !errors.Is(err, ErrNoRoot) {
		t.Errorf("error is %v", err)
	}
}
