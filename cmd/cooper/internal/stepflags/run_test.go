package stepflags

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
)

// options are those of a build with flags.
func options(t *testing.T, flags ...string) (build.RunOptions, error) {
	t.Helper()
	var r Run
	set := pflag.NewFlagSet("build", pflag.ContinueOnError)
	r.Register(set)
	if err := set.Parse(flags); err != nil {
		t.Fatal(err)
	}
	return r.Options()
}

// configure has cooper.toml say something.
func configure(t *testing.T, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cooper.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("COOPER_CONFIG", file)
}

func TestSettingsStandForAFlagThatIsNotGiven(t *testing.T) {
	configure(t, "[network]\ndefault = \"host\"\nallow-host-when-impossible = true\n")
	for line, want := range map[string]struct {
		network          string
		allowed, instead bool
	}{
		"":                  {network: "host", instead: true},
		"--network=default": {network: "host", instead: true},
		"--network=private": {network: "private"},
		"--network=host":    {network: "host", allowed: true},
	} {
		o, err := options(t, strings.Fields(line)...)
		if o.Network != want.network || o.HostNetwork != want.allowed || o.HostIfImpossible != want.instead || err != nil {
			t.Errorf("%s: %+v, %v", line, o, err)
		}
	}
	configure(t, "network = 1")
	if _, err := options(t); err == nil {
		t.Error("a wrong file was passed over")
	}
}

func TestFlagsAboutStepsBecomeOptions(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "/agent")
	configure(t, "")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	base := build.RunOptions{Agents: map[string][]string{}}
	base.Network = "private"
	with := func(change func(*build.RunOptions)) build.RunOptions {
		o := base
		change(&o)
		return o
	}
	for line, want := range map[string]build.RunOptions{
		"":                                  base,
		"--network=default":                 base,
		"--network=private":                 base,
		"--network=bridge":                  base,
		"--host-loopback=80,8080":           with(func(o *build.RunOptions) { o.HostLoopback = []uint16{80, 8080} }),
		"--network=host --host-loopback=80": {},
		"--network=ns:/x/../y":              with(func(o *build.RunOptions) { o.Network, o.NetworkNS = "ns", "/y" }),
		"--network=host":                    with(func(o *build.RunOptions) { o.Network, o.HostNetwork = "host", true }),
		"--network=none":                    with(func(o *build.RunOptions) { o.Network = "none" }),
		"--allow=network.host,security.insecure": with(func(o *build.RunOptions) {
			o.HostNetwork, o.Insecure = true, true
		}),
		"--allow=fs.read=/a --allow=fs.read=b": with(func(o *build.RunOptions) {
			o.ReadDirs = []string{"/a", filepath.Join(here, "b")}
		}),
		"--add-host=a:1.2.3.4 --add-host=b=::1": with(func(o *build.RunOptions) {
			o.AddHosts = []string{"a:1.2.3.4",
				"b=::1"}
		}),
		"--dns=1.1.1.1,2.2.2.2 --dns-search=x --dns-option=ndots:2": with(func(o *build.RunOptions) {
			o.DNS = build.DNS{Servers: []string{"1.1.1.1", "2.2.2.2"}, Search: []string{"x"}, Options: []string{"ndots:2"}}
		}),
		"--dns=none":          with(func(o *build.RunOptions) { o.DNS = build.DNS{None: true} }),
		"--shm-size=16m":      with(func(o *build.RunOptions) { o.ShmSize = 16 << 20 }),
		"--ulimit=nofile=1:2": with(func(o *build.RunOptions) { o.Limits = []string{"nofile=1:2"} }),
		"--cap-add=SYS_ADMIN --cap-drop=ALL": with(func(o *build.RunOptions) {
			o.CapAdd, o.CapDrop = []string{"SYS_ADMIN"},
				[]string{"ALL"}
		}),
		"--security-opt=seccomp=unconfined":   with(func(o *build.RunOptions) { o.NoFilter = true }),
		"--security-opt=seccomp:unconfined":   with(func(o *build.RunOptions) { o.NoFilter = true }),
		"--security-opt=no-new-privileges":    with(func(o *build.RunOptions) { o.NoNewPrivs = true }),
		"--security-opt=no-new-privileges=no": {},
		"--security-opt=label=disable --security-opt=apparmor=unconfined --security-opt=no-new-privileges=false": base,
		"--volume=/a:/b:ro": with(func(o *build.RunOptions) {
			o.Volumes = []build.Volume{{Source: "/a", Target: "/b", ReadOnly: true}}
		}),
		"--ssh=default": with(func(o *build.RunOptions) { o.Agents = map[string][]string{"default": {"/agent"}} }),
		"--ssh=a=k,l --ssh=b=/s": with(func(o *build.RunOptions) {
			o.Agents = map[string][]string{"a": {"k", "l"}, "b": {"/s"}}
		}),
		"--allow=buildx.local.delete": base,
		"--isolation=native":          base,
		"--isolation=oci":             base,
		"--runtime=crun":              base, // it is looked for later
	} {
		got, err := options(t, strings.Fields(line)...)
		if refused := want.Network == ""; refused != (err != nil) {
			t.Errorf("%s: %v", line, err)
		} else if diff := cmp.Diff(want, got); diff != "" && !refused {
			t.Errorf("%s (-want +got)\n%s", line, diff)
		}
	}
}

func TestProxiesOfTheEnvironmentAreGivenIfAskedAndNotGivenOtherwise(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"} {
		for _, spelling := range []string{name, strings.ToLower(name)} {
			t.Setenv(spelling, "")
			if err := os.Unsetenv(spelling); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("HTTP_PROXY", "upper")
	t.Setenv("http_proxy", "lower")
	t.Setenv("NO_PROXY", "none")
	t.Setenv("https_proxy", "other")
	value := "mine"
	args := map[string]*string{"https_PROXY": &value}
	if got := (&Run{}).Proxies(args); got != nil {
		t.Errorf("without the flag there are %v", got)
	}
	got := (&Run{HTTPProxy: true}).Proxies(args)
	if diff := cmp.Diff(map[string]string{"http_proxy": "lower", "NO_PROXY": "none"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
