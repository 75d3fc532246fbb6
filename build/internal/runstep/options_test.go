package runstep_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/internal/runtimes"
)

func TestParseVolume(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]runstep.Volume{
		"/a:/b":              {Source: "/a", Target: "/b"},
		"/a/../c:/b/:rw,z":   {Source: "/c", Target: "/b"},
		"/a:/b:ro":           {Source: "/a", Target: "/b", ReadOnly: true},
		"/a:/b:O":            {Source: "/a", Target: "/b", Discard: true},
		"/a:/b:idmap,nosuid": {Source: "/a", Target: "/b", MapOwners: true},
	} {
		got, err := runstep.ParseVolume(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", text, err, diff)
		}
	}
	for text, want := range map[string]string{
		"/a":          "must be HOST:TARGET",
		":/b":         "must be HOST:TARGET",
		"name:/b":     "there are no named volumes",
		"/a:b":        "must be absolute, and not the root",
		"/a:/":        "must be absolute, and not the root",
		"/a:/b:ro,vx": `option "vx" is not supported`,
	} {
		if _, err := runstep.ParseVolume(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestCheckFindsWhatCanNotBeUsed(t *testing.T) {
	t.Parallel()
	if err := (runstep.Options{CapAdd: []string{"ALL"}, Limits: []string{"nofile=1:2"}}).Check(); err != nil {
		t.Error(err)
	}
	for name, o := range map[string]runstep.Options{
		"caps":   {CapDrop: []string{"FLY"}},
		"limits": {Limits: []string{"wings=2"}},
		"secret": {Secrets: map[string]runstep.Secret{"s": make(runstep.Secret, runstep.MaxSecret+1)}},
	} {
		if o.Check() == nil {
			t.Errorf("%s: nothing was found", name)
		}
	}
}

func TestASecretIsNotPrinted(t *testing.T) {
	t.Parallel()
	o := runstep.Options{Secrets: map[string]runstep.Secret{"s": runstep.Secret("hidden")}}
	for _, text := range []string{fmt.Sprint(o), fmt.Sprintf("%+v", o), fmt.Sprintf("%#v", o)} {
		if strings.Contains(text, "hidden") || !strings.Contains(text, "[secret]") {
			t.Error(text)
		}
	}
}

func TestParsePlatforms(t *testing.T) {
	t.Parallel()
	local := platforms.FormatAll(runstep.MachinePlatform())
	for text, want := range map[string]string{
		"":                                     "",
		"local":                                local,
		"linux/arm64,linux/amd64":              "linux/arm64 linux/amd64",
		"linux/aarch64, linux/arm64":           "linux/arm64",
		"linux/arm/v7,linux/arm/v6":            "linux/arm/v7 linux/arm/v6",
		"linux/amd64,linux/arm64,linux/x86_64": "linux/amd64 linux/arm64",
	} {
		var texts, got []string
		if text != "" {
			texts = []string{text}
		}
		all, err := runstep.ParsePlatforms(texts)
		for _, p := range all {
			got = append(got, platforms.FormatAll(p))
		}
		if strings.Join(got, " ") != want || err != nil {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	if _, err := runstep.ParsePlatforms([]string{"a/b/c/d"}); err == nil ||
		!strings.Contains(err.Error(), "--platform: ") {
		t.Error(err)
	}
}

func TestADirectoryForBundlesMustBeNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := runtimes.CheckKeepBundle(dir); err != nil {
		t.Error(err)
	}
	if err := runtimes.CheckKeepBundle(filepath.Join(dir, "new")); err != nil {
		t.Error(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{dir: "is not empty",
		filepath.Join(dir, "link"): "symbolic link to nowhere"} {
		if err := runtimes.CheckKeepBundle(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestCheckRuntimeName(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{"crun": true, "runc": true, "./mine": true, "mine": false} {
		if err := runtimes.CheckRuntimeName(name); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
