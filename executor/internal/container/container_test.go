package container_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/container"
	"github.com/cooperbuild/cooper/executor/joined"
	"github.com/cooperbuild/cooper/executor/step"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) { os.Exit(usertest.Main(usertest.Both(m.Run))) }

func TestContradictionsAreRefused(t *testing.T) {
	sh := []string{"sh"}
	for text, s := range map[string]step.Step{
		"no command":                 {},
		"no command ":                {Args: []string{""}},
		"want host, none or private": {Args: sh, Network: "bridge"},
		"longer than 64":             {Args: sh, Hostname: strings.Repeat("x", 65)},
		"not absolute":               {Args: sh, Cwd: "work"},
		"map is not":                 {Args: sh, UserNS: &joined.UserNS{}, Mapping: &userns.Mapping{}},
	} {
		if _, err := container.New(s); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(text)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	for _, test := range []struct {
		step     step.Step
		shm      int64
		hostname string
	}{
		{step.Step{Args: []string{"sh"}}, 64 << 20, "cooper"},
		{step.Step{Args: []string{"sh"}, ShmSize: 4096, Hostname: "box"}, 4096, "box"},
	} {
		c, err := container.New(test.step)
		if err != nil || c.ShmSize() != test.shm || c.Hostname() != test.hostname {
			t.Errorf("%d %q %v", c.ShmSize(), c.Hostname(), err)
		}
		if err := c.Close(); err != nil { // nothing was prepared
			t.Error(err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	tests := map[string]struct{ env, want []string }{
		"empty":       {nil, []string{"PATH=" + container.DefaultPath, "HOME=/h"}},
		"last counts": {[]string{"A=1", "B=", "A=2", "PATH=/p", "HOME=/x"}, []string{"B=", "A=2", "PATH=/p", "HOME=/x"}},
		"no variable": {[]string{"A", "=x", "PATH=", "HOME="}, []string{"PATH=", "HOME="}},
	}
	for name, test := range tests {
		if diff := cmp.Diff(test.want, container.Environ(test.env, "/h")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestProgramsAreLookedForInPath(t *testing.T) {
	tests := []struct {
		program string
		env     []string
		want    []string
	}{
		{"a/b", []string{"PATH=/bin"}, []string{"a/b"}},
		{"sh", []string{"PATH=/bin:/usr/bin"}, []string{"/bin/sh", "/usr/bin/sh"}},
		{"sh", []string{"PATH=:rel:/"}, []string{"sh", "rel/sh", "/sh"}},
		{"sh", nil, []string{"sh"}},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, container.Candidates(test.program, test.env)); diff != "" {
			t.Errorf("%s in %v: %s", test.program, test.env, diff)
		}
	}
}

func TestNamesOfAStep(t *testing.T) {
	const own = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tbox\n"
	none := step.Step{Network: step.NetworkNone}
	with := func(change func(*step.Step)) step.Step { s := none; change(&s); return s }
	tests := map[string]struct {
		step step.Step
		want map[string]string
	}{
		"no network": {none, map[string]string{"etc/hosts": own, "etc/resolv.conf": ""}},
		"hosts": {
			with(func(s *step.Step) { s.AddHosts = []string{"a:10.0.0.1", "b=[::2]", "d=fe80::1", "c:host-gateway"} }),
			map[string]string{"etc/hosts": own + "10.0.0.1\ta\n::2\tb\nfe80::1\td\n127.0.0.1\tc\n", "etc/resolv.conf": ""},
		},
		"servers": {
			with(func(s *step.Step) { s.DNS = step.DNS{Servers: []string{"10.0.0.2"}, Search: []string{"x.org"}} }),
			map[string]string{"etc/hosts": own, "etc/resolv.conf": "search x.org\nnameserver 10.0.0.2\n"},
		},
		"image's resolver": {
			with(func(s *step.Step) { s.DNS.None = true }), map[string]string{"etc/hosts": own},
		},
	}
	for name, test := range tests {
		texts, err := container.Names(test.step, "box", nil)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for file, text := range texts {
			got[file] = string(text)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, bad := range []step.Step{
		{AddHosts: []string{"a"}}, {AddHosts: []string{"a:b"}}, {AddHosts: []string{":1.1.1.1"}},
		{AddHosts: []string{"a b:1.1.1.1"}}, {DNS: step.DNS{Servers: []string{"x"}}},
		{DNS: step.DNS{Options: []string{"a b"}}},
	} {
		if _, err := container.Names(bad, "box", nil); err == nil {
			t.Errorf("accepted: %+v", bad)
		}
	}
}

func TestSettingsReplaceLinesOfTheirKind(t *testing.T) {
	const callers = "# mine\nnameserver 1.1.1.1\nsearch a b\ndomain c\noptions x"
	tests := map[string]struct {
		dns  step.DNS
		want string
	}{
		"servers": {step.DNS{Servers: []string{"2.2.2.2"}},
			"# mine\nsearch a b\ndomain c\noptions x\nnameserver 2.2.2.2\n"},
		"search":    {step.DNS{Search: []string{"z"}}, "# mine\nnameserver 1.1.1.1\noptions x\nsearch z\n"},
		"no search": {step.DNS{Search: []string{"."}}, "# mine\nnameserver 1.1.1.1\noptions x\n"},
		"options": {
			step.DNS{Options: []string{"y", "z"}}, "# mine\nnameserver 1.1.1.1\nsearch a b\ndomain c\noptions y z\n",
		},
	}
	for name, test := range tests {
		if diff := cmp.Diff(test.want, string(container.Replace(test.dns, []byte(callers)))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// All that is made for a step is closed with it, and its root is as it was.
func TestNothingOfAContainerIsLeft(t *testing.T) {
	dir := t.TempDir()
	at, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	s := step.Step{
		Args: []string{"/bin/sh"}, Rootfs: step.Rootfs{Dir: at}, User: "7:8", Env: []string{"A=1"},
		Files: []step.File{{Path: "/run/x", Data: []byte("x"), Mode: 0o600}},
	}
	c, err := container.New(s)
	if err == nil {
		err = errors.Join(c.EnterMapping(), c.MakeMounts(c.ShmSize()))
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.User.UID != 7 || c.User.GID != 8 || !slices.Contains(c.Env, "HOME=/") || c.IsThere("/bin/sh") {
		t.Errorf("user %+v, environment %v", c.User, c.Env)
	}
	if got := c.Reason(unix.ENOENT, "/bin/sh"); !strings.Contains(got, "base has no shell?") {
		t.Errorf("why there is no shell: %s", got)
	}
	for _, f := range []*os.File{c.Memory.Dir, c.Memory.Shm, c.Kernel.Sys, c.Kernel.Pts, c.Root.Dir} {
		if _, err := f.Stat(); err != nil {
			t.Error(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{c.Memory.Dir, c.Memory.Shm, c.Kernel.Sys, c.Kernel.Pts, c.Root.Dir} {
		if _, err := f.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("left open: %v", err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the root has %v (%v)", entries, err)
	}
}
