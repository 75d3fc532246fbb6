package reexec

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// testMissing takes from the machine one thing at a time.
func (u *ordinary) testMissing(t *testing.T) {
	plain := publicDir(t) // the helpers without their setuid bit
	for _, name := range []string{"newuidmap", "newgidmap"} {
		copyFile(t, filepath.Join("/usr/bin", name), filepath.Join(plain, name), 0o755)
	}
	onlyUID := publicDir(t)
	if err := os.Symlink("/usr/bin/newuidmap", filepath.Join(onlyUID, "newuidmap")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		env  []string
		act  string
		want []string
	}{
		{"newuidmap", []string{"PATH=" + publicDir(t)}, "exit", []string{"newuidmap is not in PATH", "apt install uidmap"}},
		{"newgidmap", []string{"PATH=" + onlyUID}, "exit", []string{"newgidmap is not in PATH", "apt install uidmap"}},
		{"setuid bit", []string{"PATH=" + plain}, "exit",
			[]string{"neither its setuid bit nor the capability cap_setuid", "chmod u+s " + plain + "/newuidmap"}},
		{"privileges", []string{envNoNewPrivs + "=1"}, "exit", []string{"no_new_privs is set", "no-new-privileges"}},
		{"permission for the range", []string{envWide + "=1"}, "exit",
			[]string{"newuidmap does not allow", "3000000000", "/etc/subuid has a line " + u.name + ":3000000000:7"}},
		{"line for the user", []string{envUser + "="}, "exit", nil},
		{"user namespaces", nil, "namespaces-off",
			[]string{"user namespaces are switched off (user.max_user_namespaces is 0)",
				"sysctl -w user.max_user_namespaces=15000"}},
	} {
		if test.want == nil && u.credential == nil {
			continue // only root can become somebody else
		}
		t.Run(test.name, func(t *testing.T) {
			if test.want == nil {
				u.testNoLine(t)
				return
			}
			_, stderr, code := u.run(t, test.env, test.act, "0")
			if code != 125 {
				t.Errorf("exit status %d, want 125", code)
			}
			for _, want := range test.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("message %q lacks %q", stderr, want)
				}
			}
			if strings.Count(stderr, "\n") != 1 {
				t.Errorf("message %q is not one line", stderr)
			}
		})
	}
}

// testStrangers runs as users whom newuidmap doesn't know as they are.
func (u *ordinary) testStrangers(t *testing.T) {
	for _, test := range []struct {
		name     string
		uid, gid uint32
		want     []string
	}{
		{"a group that isn't the primary one", u.uid, 4321,
			[]string{"runs with the group 4321, but " + u.name + "'s primary group in /etc/passwd is " +
				groupName(strconv.Itoa(int(u.gid))), "sg " + groupName(strconv.Itoa(int(u.gid))) + " -c"}},
		{"a user without a name", 54321, u.gid, []string{"user ID 54321 has no entry in /etc/passwd", "useradd -u 54321"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			other := *u
			credential := *u.credential
			credential.Uid, credential.Gid = test.uid, test.gid
			other.credential = &credential
			_, stderr, code := other.run(t, nil, "exit", "0")
			for _, want := range test.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("message %q lacks %q", stderr, want)
				}
			}
			if code != 125 || strings.Contains(stderr, "SETUID") {
				t.Errorf("exit status %d, message %q", code, stderr)
			}
		})
	}
}

// testNoLine runs as a user ID that no file knows.
func (u *ordinary) testNoLine(t *testing.T) {
	stranger := *u
	credential := *u.credential
	credential.Uid = 54321
	stranger.name, stranger.credential = "stranger", &credential
	_, stderr, code := stranger.run(t, nil, "exit", "0")
	for _, want := range []string{"stranger has no line in /etc/subuid and /etc/subgid", "usermod --add-subuids",
		"--add-subgids", " stranger\n"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("message %q lacks %q", stderr, want)
		}
	}
	if code != 125 {
		t.Errorf("exit status %d, want 125", code)
	}
}
