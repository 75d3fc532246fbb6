package git

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/fetch/fetchtest"
)

// fakeSSH does what ssh would do at the other end, and notes how it was called.
const fakeSSH = `#!/bin/sh
{
	echo "agent=$SSH_AUTH_SOCK"
	for arg; do echo "<$arg>"; done
} >"${0%/*}/called"
for last; do :; done
cd "${0%/*}/.." && sh -c "$last"
`

func TestSSHUsesTheGivenAgentAndKnownHostsAlone(t *testing.T) {
	dir := t.TempDir()
	fetchtest.NewOrigin(t, dir, "x").Commit("", map[string]string{"100644 f": "f"}, "refs/heads/main")
	bin := filepath.Join(dir, "bin")
	if err := errors.Join(os.Mkdir(bin, 0o755), os.WriteFile(filepath.Join(bin, "ssh"), []byte(fakeSSH),
		0o755)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("HOME", "/home/it's me")
	t.Setenv("USER", "me")
	t.Setenv("SSH_AUTH_SOCK", "/not/given")
	for _, test := range []struct {
		url, agent   string
		hosts        []string
		want, forbid []string
	}{
		{
			"git@example.com:x.git", "", nil,
			[]string{
				"agent=\n", "<-F>\n<none>\n", "<BatchMode=yes>", "<StrictHostKeyChecking=yes>", "<IdentityFile=none>",
				"<IdentityAgent=none>", "<git@example.com>",
				`<UserKnownHostsFile="/home/it's me/.ssh/known_hosts" "/home/it's me/.ssh/known_hosts2">`,
			},
			[]string{"User=me"},
		},
		{
			"ssh://example.com:2222/" + dir + "/x.git", "/the/agent", []string{"/hosts"},
			[]string{"agent=/the/agent\n", "<User=me>", "<-p>\n<2222>\n", `<UserKnownHostsFile="/hosts">`},
			[]string{"IdentityAgent"},
		},
	} {
		r := gitRequest(t, test.url)
		r.SSHAuthSock, r.KnownHosts = test.agent, test.hosts
		openCache(t).mustCheckOut(t, r)
		called, err := os.ReadFile(filepath.Join(bin, "called"))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range test.want {
			if !strings.Contains(string(called), text) {
				t.Errorf("%s: ssh was called without %q:\n%s", test.url, text, called)
			}
		}
		for _, text := range test.forbid {
			if strings.Contains(string(called), text) {
				t.Errorf("%s: ssh was called with %q:\n%s", test.url, text, called)
			}
		}
	}
}

func TestSSHFailuresSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for said, want := range map[string]string{
		"Host key verification failed.":                   "ssh-keyscan example.com",
		"git@example.com: Permission denied (publickey).": "--ssh default",
	} {
		script := "#!/bin/sh\necho '" + said + "' >&2\nexit 255\n"
		if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := openCache(t).Tree(t.Context(), gitRequest(t, "git@example.com:x.git"))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), said) {
			t.Errorf("%v, want %q and %q", err, said, want)
		}
	}
}
