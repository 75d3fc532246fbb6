package containersconf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// environ is an environment whose files of configuration lie in a directory of the test's.
func environ(t *testing.T, files map[string]string) func(string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(name string) string {
		switch name {
		case "XDG_CONFIG_HOME":
			return dir
		case envOnly, envLast:
			if _, there := files[name]; there {
				return filepath.Join(dir, name)
			}
		}
		return ""
	}
}

const user = "containers/containers.conf"

func TestLaterFilesGoBeforeEarlierOnes(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		user:                   "[containers]\ndns_servers=[\"192.0.2.1\"]\nshm_size=\"1m\"\ndefault_ulimits=[\"core=0\"]\n",
		user + ".d/20.conf":    "[containers]\ndefault_ulimits=[\"nofile=9\", {append=true}]\n[engine]\nretry=7\nevents_logger=\"x\"\n",
		user + ".d/10.conf":    "[engine]\nretry=6\nretry_delay=\"2s\"\n",
		user + ".d/ignored":    "nonsense",
		"elsewhere/other.conf": "nonsense",
	}
	c, err := Read(environ(t, files))
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.Containers.DNS, c.Containers.ShmSize, c.Containers.Limits, *c.Engine.Retry, c.Engine.RetryDelay}
	want := []any{list{"192.0.2.1"}, "1m", list{"core=0", "nofile=9"}, uint(7), "2s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	files[envLast] = "[containers]\nshm_size=\"2m\"\n"
	if c, err = Read(environ(t, files)); err != nil || c.Containers.ShmSize != "2m" || *c.Engine.Retry != 7 {
		t.Errorf("%+v, %v", c, err)
	}
	files[envOnly] = "[engine]\nretry=1\n"
	if c, err = Read(environ(t, files)); err != nil || c.Containers.ShmSize != "2m" || *c.Engine.Retry != 1 ||
		c.Containers.Limits != nil {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAMistakeHasFileAndLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[containers]\ndevices=\"x\"\n": "containers.conf:2: must be an array",
		"[containers]\ndevices=[1]\n":   "containers.conf:2: must be an array",
		"[engine]\nretry=\n":            "containers.conf:2: ",
		"[engine]\nretry=\"x\"\n":       "containers.conf: ",
	} {
		if _, err := Read(environ(t, map[string]string{user: text})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFlagsThatAreNotGivenHaveWhatTheFilesSay(t *testing.T) {
	t.Parallel()
	conf, err := Read(environ(t, map[string]string{user: `
[containers]
default_capabilities = ["CAP_CHOWN", "KILL", "SETUID"]
default_ulimits = ["nofile=5"]
devices = ["/dev/null"]
dns_servers = ["192.0.2.1"]
seccomp_profile = "/p.json"
shm_size = "5m"
[engine]
compression_format = "zstd"
retry = 7
runtime = "mine"
runtimes = {mine = ["/none", "/dev/null"]}
`}))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		verb, args, want string
	}{
		"none": {"build", "", "ulimit=[nofile=5] device=[/dev/null] dns=[192.0.2.1] security-opt=[seccomp=/p.json] " +
			"cap-add=[CAP_CHOWN,KILL,SETUID] cap-drop=[ALL] shm-size=5m retry=7 compression-format=zstd runtime="},
		"all": {"build", "--ulimit=nproc=1 --dns=none --security-opt=seccomp=unconfined --cap-drop=cap_kill --cap-add=X " +
			"--shm-size=1m --retry=0 --compression-format=gzip --isolation=oci --runtime=crun",
			"ulimit=[nofile=5,nproc=1] device=[/dev/null] dns=[none] security-opt=[seccomp=unconfined] " +
				"cap-add=[CAP_CHOWN,SETUID,X] cap-drop=[ALL] shm-size=1m retry=0 compression-format=gzip runtime=crun"},
		"all capabilities": {"from", "--cap-add=ALL --isolation=oci", "ulimit=[nofile=5] device=[/dev/null] dns=[192.0.2.1] " +
			"security-opt=[seccomp=/p.json] cap-add=[ALL] cap-drop=[] shm-size=5m retry=7 compression-format=zstd runtime=/dev/null"},
		"another verb": {"run", "", "ulimit=[] device=[] dns=[] security-opt=[] cap-add=[] cap-drop=[] shm-size= " +
			"retry=3 compression-format= runtime="},
	} {
		f := pflag.NewFlagSet(test.verb, pflag.ContinueOnError)
		many := []string{"ulimit", "device", "dns", "security-opt", "cap-add", "cap-drop"}
		for _, flag := range many {
			f.StringSlice(flag, nil, "")
		}
		one := []string{"shm-size", "retry", "compression-format", "runtime"}
		f.Int("retry", 3, "")
		for _, flag := range []string{"shm-size", "compression-format", "runtime", "isolation"} {
			f.String(flag, "", "")
		}
		if err := f.Parse(strings.Fields(test.args)); err != nil {
			t.Fatal(err)
		}
		if err := conf.Apply(test.verb, f); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, flag := range append(many, one...) {
			got = append(got, flag+"="+f.Lookup(flag).Value.String())
		}
		if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}
