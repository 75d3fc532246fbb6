package workcmd

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// configured gives a state the changes that flags of config ask for.
func configured(t *testing.T, s *working.State, flags ...string) error {
	t.Helper()
	o := &configOptions{}
	if err := o.command().ParseFlags(flags); err != nil {
		return err
	}
	return o.change(s)
}

func TestConfigChangesTheImage(t *testing.T) {
	t.Setenv("FROM_HERE", "here")
	state := func() *working.State {
		s := working.NewState(time.Unix(1, 0))
		s.Image.Config = imagebuilder.Config{Env: []string{"PATH=/bin", "A=1"},
			Labels:       map[string]string{"old": "1", "k": "1"},
			ExposedPorts: map[string]struct{}{"80/tcp": {}}, Cmd: []string{"old"}}
		return s
	}
	for name, test := range map[string]struct {
		flags []string
		want  func(c *imagebuilder.Config)
	}{
		"command":     {[]string{"--cmd", `a 'b c' d\ e`}, func(c *imagebuilder.Config) { c.Cmd = []string{"a", "b c", "d e"} }},
		"no command":  {[]string{"--cmd", ""}, func(c *imagebuilder.Config) { c.Cmd = nil }},
		"entry point": {[]string{"--entrypoint", `["a", "b"]`}, func(c *imagebuilder.Config) { c.Entrypoint = []string{"a", "b"} }},
		"entry point in words": {[]string{"--entrypoint", "a b"},
			func(c *imagebuilder.Config) { c.Entrypoint = []string{"/bin/sh", "-c", "a b"} }},
		"variables": {[]string{"--env", "PATH=$PATH:/x", "--env", "A-", "--env", "FROM_HERE", "--env", "NOT_HERE"},
			func(c *imagebuilder.Config) { c.Env = []string{"PATH=/bin:/x", "FROM_HERE=here"} }},
		"no variables": {[]string{"--env", "-"}, func(c *imagebuilder.Config) { c.Env = nil }},
		"labels": {[]string{"--label", "old-", "--label", "new=a=b", "--label", "bare"},
			func(c *imagebuilder.Config) { c.Labels = map[string]string{"k": "1", "new": "a=b", "bare": ""} }},
		"no labels": {[]string{"--label", "-"}, func(c *imagebuilder.Config) { c.Labels = map[string]string{} }},
		"ports": {[]string{"--port", "80-", "--port", "53/udp,8000"}, func(c *imagebuilder.Config) {
			c.ExposedPorts = map[string]struct{}{"53/udp": {}, "8000/tcp": {}}
		}},
		"volumes": {[]string{"--volume", "/v", "--volume", "/w", "--volume", "/w-"},
			func(c *imagebuilder.Config) { c.Volumes = map[string]struct{}{"/v": {}} }},
		"texts": {[]string{"--user", "u", "--workingdir", "rel", "--stop-signal", "SIGINT", "--hostname", "h",
			"--domainname", "d", "--onbuild", "RUN x", "--shell", "/bin/bash -c"}, func(c *imagebuilder.Config) {
			c.User, c.WorkingDir, c.StopSignal, c.Hostname, c.Domainname = "u", "/rel", "SIGINT", "h", "d"
			c.OnBuild, c.Shell = []string{"RUN x"}, []string{"/bin/bash", "-c"}
		}},
		"health": {[]string{"--healthcheck", "CMD a 'b c'", "--healthcheck-interval", "1m"}, func(c *imagebuilder.Config) {
			c.Healthcheck = &imagebuilder.Healthcheck{Test: []string{"CMD", "a", "b c"}, Interval: time.Minute,
				Timeout: 30 * time.Second, Retries: 3}
		}},
		"health of a shell": {[]string{"--healthcheck", "CMD-SHELL a | b", "--healthcheck-retries", "1"},
			func(c *imagebuilder.Config) {
				c.Healthcheck = &imagebuilder.Healthcheck{Test: []string{"CMD-SHELL", "a | b"}, Interval: 30 * time.Second,
					Timeout: 30 * time.Second, Retries: 1}
			}},
		"no health": {[]string{"--healthcheck", "NONE"},
			func(c *imagebuilder.Config) { c.Healthcheck = &imagebuilder.Healthcheck{Test: []string{"NONE"}} }},
	} {
		got, want := state(), state()
		test.want(&want.Image.Config)
		if err := configured(t, got, test.flags...); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want.Image.Config, got.Image.Config); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestConfigChangesWhatIsAroundTheConfig(t *testing.T) {
	s := working.NewState(time.Unix(1, 0))
	s.Annotations = map[string]string{"a": "1", "b": "1"}
	err := configured(t, s, "--author", "me", "--comment", "c", "--created-by", "by", "--history-comment", "hc",
		"--annotation", "a-", "--annotation", "n=1", "--arch", "arm64", "--variant", "v8", "--os", "linux",
		"--os-version", "1", "--os-feature", "f", "--add-history", "--user", "u")
	if err != nil {
		t.Fatal(err)
	}
	want := ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8", OSVersion: "1", OSFeatures: []string{"f"}}
	if diff := cmp.Diff(want, s.Image.Platform); diff != "" {
		t.Error(diff)
	}
	if s.Image.Author != "me" || s.Image.Comment != "c" || s.CreatedBy != "by" || s.HistoryComment != "hc" {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(map[string]string{"b": "1", "n": "1"}, s.Annotations); diff != "" {
		t.Error(diff)
	}
	if len(s.Prepended) != 1 || s.Prepended[0].CreatedBy != "/bin/sh -c #(nop) USER u" || !s.Prepended[0].EmptyLayer {
		t.Errorf("the history gets %+v", s.Prepended)
	}
}

func TestWrongChangesAreRefused(t *testing.T) {
	for _, flags := range [][]string{
		{"--cmd", "a 'b"}, {"--shell", `"`}, {"--env", "=x"}, {"--label", "=x"}, {"--annotation", ""}, {"--port", "x"},
		{"--healthcheck", "RUN x"},
	} {
		if err := configured(t, working.NewState(time.Unix(1, 0)), flags...); err == nil ||
			!strings.HasPrefix(err.Error(), flags[0]) {
			t.Errorf("%q: %v", flags, err)
		}
	}
}

func TestWhereImagesGo(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"app": "localhost/app:latest", "containers-storage:app:1": "localhost/app:1", "docker:1": "localhost/docker:1",
		"docker://h.example/app:1": "push h.example/app:1", "oci:d:1": "oci d [localhost/d:1] true",
		"oci-archive:a/B.tar:1": "oci a/B.tar [localhost/image:1] false", "oci-archive:f": "oci f [] false",
		"docker-archive:f:app:1": "docker f [app:1] false", "dir:a:b": "dir a:b [] false",
	} {
		d, err := destinationOf(text)
		got := d.name
		switch {
		case err != nil:
			got = err.Error()
		case d.push != "":
			got = "push " + d.push
		case d.file.Type != "":
			got = strings.Join([]string{string(d.file.Type), d.file.Dest, "[" + strings.Join(d.file.Names, " ") + "]",
				map[bool]string{true: "true", false: "false"}[d.file.Directory]}, " ")
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"docker-daemon:app", "oci:", "dir:", "docker://", "UPPER"} {
		if d, err := destinationOf(text); err == nil {
			t.Errorf("%s: %+v", text, d)
		}
	}
}

func TestPullsAsBuildahSays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"true": "newer", "false": "missing", "ifnewer": "newer", "Always": "always",
		"never": "never", "ifmissing": "missing"} {
		var p pullFlag
		if err := p.Set(text); err != nil || p.String() != want {
			t.Errorf("%s: %s, %v", text, p, err)
		}
	}
	if err := new(pullFlag).Set("sometimes"); err == nil {
		t.Error("sometimes is a policy")
	}
}
