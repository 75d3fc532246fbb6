package devices_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/devices"
	"github.com/cooperbuild/cooper/executor"
)

const file = `cdiVersion: "0.7.0"
kind: example.com/dev
containerEdits:
  env: [OF_ALL=1]
devices:
  - name: one
    containerEdits:
      env: [ONE=1]
      additionalGids: [44]
      deviceNodes: [{path: /dev/one, hostPath: /dev/null}]
      hooks: [{hookName: createContainer, path: /bin/true, args: [true]}]
  - name: two
    containerEdits:
      deviceNodes: [{path: /dev/zero}]
      mounts: [{hostPath: /etc, containerPath: /given, options: [ro]}]
`

func TestDevicesAreFoundByPathAndByName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dev.yaml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	null := devices.Mount{Source: "/dev/null", Target: "/dev/null", Device: true}
	one := devices.Set{Env: []string{"OF_ALL=1", "ONE=1"}, Groups: []uint32{44},
		Mounts: []devices.Mount{{Source: "/dev/null", Target: "/dev/one", Device: true}},
		Hooks:  []executor.Hook{{Point: "createContainer", Path: "/bin/true", Args: []string{"true"}}}}
	both := one
	both.Mounts = append(both.Mounts[:1:1], devices.Mount{Source: "/dev/zero", Target: "/dev/zero", Device: true},
		devices.Mount{Source: "/etc", Target: "/given", ReadOnly: true})
	for text, want := range map[string]devices.Set{
		"/dev/null":               {Mounts: []devices.Mount{null}},
		"/dev/null:rwm":           {Mounts: []devices.Mount{null}},
		"/dev/null:/dev/other:rw": {Mounts: []devices.Mount{{Source: "/dev/null", Target: "/dev/other", Device: true}}},
		"example.com/dev=one":     one,
		"example.com/dev":         both,
		"example.com/dev=*":       both,
	} {
		got, err := devices.Find([]devices.Name{{Text: text, Required: true}}, []string{dir})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", text, err, diff)
		}
	}
	for text, says := range map[string]string{
		"/dev/not-there":        "no such file",
		"/etc/passwd":           "neither a device nor a directory",
		"example.com/dev=three": "there are example.com/dev=one, example.com/dev=two",
		"example.com/none":      "there is no device example.com/none",
	} {
		_, err := devices.Find([]devices.Name{{Text: text, Required: true}}, []string{dir})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
		if strings.HasPrefix(text, "/etc") {
			continue
		}
		if got, err := devices.Find([]devices.Name{{Text: text}}, []string{dir}); err != nil || len(got.Mounts) > 0 {
			t.Errorf("%s, which isn't required: %+v, %v", text, got, err)
		}
	}
}

func TestNamesOfNoDeviceAreRefused(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"fuse": "must be a path in /dev", "a b/c=d": "must be a path", "": "must be a path",
		"/dev/null:r": "must be rw or rwm", "/dev/null:/a:/b": "must be HOSTPATH",
		"/dev/null": "", "vendor.com/class=name": "", "vendor.com/class": "",
	} {
		err := devices.CheckName(text)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
