package workstate

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
)

// theirs is the file of a container that buildah 1.28 has made on an image and configured.
func theirs(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/buildah-1.28.json")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func parse(t *testing.T, text []byte) *State {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func asValue(t *testing.T, text []byte) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWhatBuildahHasWrittenStaysAsItIs(t *testing.T) {
	t.Parallel()
	text := theirs(t)
	got, err := parse(t, text).Text()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(asValue(t, text), asValue(t, got)); diff != "" {
		t.Error(diff)
	}
}

func TestTheConfigIsThatOfBothForms(t *testing.T) {
	t.Parallel()
	s := parse(t, theirs(t))
	c := s.Image.Config
	if !slices.Equal(c.Cmd, []string{"/bin/sh"}) || c.Hostname != "box" || !slices.Equal(c.OnBuild, []string{"RUN x"}) ||
		c.Healthcheck == nil || c.Labels["l"] != "1" || s.Image.Comment != "text" {
		t.Errorf("it is %+v, %q", c, s.Image.Comment)
	}
	if base, err := s.BaseImage(); err != nil || len(base.DiffIDs) != 1 || len(base.History) != 1 {
		t.Errorf("the base is %+v, %v", base, err)
	}
	s.Image = s.Image.WithCmd([]string{"new"})
	s.Image.Config.Hostname = "other"
	text, err := s.Text()
	if err != nil {
		t.Fatal(err)
	}
	v := asValue(t, text)
	for _, form := range []string{"ociv1", "docker"} {
		config := v[form].(map[string]any)["config"].(map[string]any)
		if diff := cmp.Diff([]any{"new"}, config["Cmd"]); diff != "" {
			t.Errorf("%s: %s", form, diff)
		}
	}
	if got := parse(t, text).Image.Config.Hostname; got != "other" {
		t.Errorf("the host name is %q", got)
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{": "unexpected end", `{"type":"podman 1"}`: `it is of type "podman 1"`, "[]": "cannot unmarshal",
		`{"type":"buildah 0.0.1","ociv1":{"rootfs":{"diff_ids":["x"]}}}`: "diff ID",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestSettingsOfCommandsAreKept(t *testing.T) {
	t.Parallel()
	now := time.Unix(1, 0).UTC()
	s := New(Base{}, ocispec.Platform{OS: "linux", Architecture: "amd64"}, now)
	if got := s.Sandbox(); len(got.CapAdd)+len(got.CapDrop)+len(got.Limits) > 0 || got.Network != "" {
		t.Errorf("nothing was asked for, and there is %+v", got)
	}
	takes := Takes{Memory: 1 << 20, MemorySwap: -1, CPUShares: 2, CPUPeriod: 3, CPUQuota: 4, CPUs: "0", Nodes: "0",
		CgroupParent: "/x"}
	s.SetSandbox(Sandbox{AddHosts: []string{"a:1.2.3.4"}, Volumes: []string{"/a:/b"}, Limits: []string{"nofile=9"},
		CapAdd: []string{"sys_time"}, CapDrop: []string{"ALL", "CAP_CHOWN"}, Takes: takes, Network: "none", ShmSize: "1m"})
	text, err := s.Text()
	if err != nil {
		t.Fatal(err)
	}
	want := Sandbox{AddHosts: []string{"a:1.2.3.4"}, DNS: []string{}, DNSSearch: []string{}, DNSOptions: []string{},
		Volumes: []string{"/a:/b"}, Limits: []string{"nofile=9"}, ShmSize: "1m", CapAdd: []string{"CAP_SYS_TIME"},
		CapDrop: []string{capAll}, Takes: takes, Network: "none"}
	if diff := cmp.Diff(want, parse(t, text).Sandbox()); diff != "" {
		t.Error(diff)
	}
	for _, dropped := range []string{"net_raw", "chown"} {
		s := New(Base{}, ocispec.Platform{}, now)
		s.SetSandbox(Sandbox{CapDrop: []string{dropped}})
		all := s.Sandbox().CapAdd
		if slices.Contains(all, "CAP_"+strings.ToUpper(dropped)) || len(all) != 13 || !slices.Contains(all, "CAP_MKNOD") {
			t.Errorf("without %s there are %q", dropped, all)
		}
	}
	kept := parse(t, theirs(t)).Sandbox()
	if len(kept.Limits) > 0 || kept.Network != "" {
		t.Errorf("what is usual counts: %q, %q", kept.Limits, kept.Network)
	}
	for _, network := range []string{"", "none", "host", "private"} {
		s := New(Base{}, ocispec.Platform{}, now)
		if s.SetSandbox(Sandbox{Network: network}); s.Sandbox().Network != network {
			t.Errorf("%q became %q", network, s.Sandbox().Network)
		}
	}
}

func TestTheHistoryTellsOfAllLayers(t *testing.T) {
	t.Parallel()
	s := parse(t, theirs(t))
	made := time.Unix(5, 0).UTC()
	for _, n := range []int{2, 3} { // it is told once for all
		s.Layers(n, made)
		if len(s.Image.History) != 1+n || s.Image.History[n].CreatedBy != s.MadeBy() {
			t.Errorf("%d layers on one: %+v", n, s.Image.History)
		}
	}
	s.Config = []byte(`{"rootfs":{"diff_ids":["sha256:` + strings.Repeat("0", 64) + `"]}}`)
	s.Image.History = nil
	s.Layers(1, made)
	if len(s.Image.History) > 0 {
		t.Errorf("of a base without history: %+v", s.Image.History)
	}
}

func TestAContainerOnNothingBeginsEmpty(t *testing.T) {
	t.Parallel()
	s := New(Base{}, ocispec.Platform{OS: "linux", Architecture: "arm64"}, time.Unix(1, 0).UTC())
	text, err := s.Text()
	if err != nil {
		t.Fatal(err)
	}
	again := parse(t, text)
	base, err := again.BaseImage()
	if err != nil || again.Image.Platform.Architecture != "arm64" || len(base.DiffIDs) > 0 ||
		again.ImageFormat() != imagebuilder.OCI || again.MadeBy() != "/bin/sh" {
		t.Errorf("%+v, %+v, %v", again.Image, base, err)
	}
	if info := again.Info(); info.Isolation != "oci" || info.OCIv1.Architecture != "arm64" || info.Type != kind {
		t.Errorf("shown is %+v", info)
	}
}
