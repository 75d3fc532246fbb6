package tests_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// TestTheModulesOfABinaryAreListedAsSPDX runs what contrib/release.sh runs on the binary under test.
func TestTheModulesOfABinaryAreListedAsSPDX(t *testing.T) {
	t.Parallel()
	modules, err := exec.Command("go", "version", "-m", suite.cooper).Output()
	if err != nil {
		t.Fatal(err)
	}
	awk := exec.Command("awk", "-v", "version=v1.2.3", "-v", "created=2026-01-02T03:04:05Z", "-f", "../contrib/spdx.awk")
	awk.Stdin = strings.NewReader(string(modules))
	out, err := awk.Output()
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		SPDXVersion string `json:"spdxVersion"`
		Packages    []struct {
			SPDXID, Name string
			VersionInfo  string `json:"versionInfo"`
		} `json:"packages"`
		Relationships []struct {
			Related string `json:"relatedSpdxElement"`
		} `json:"relationships"`
	}
	if err := json.Unmarshal(out, &document); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	ids := map[string]bool{}
	versions := map[string]string{}
	for _, p := range document.Packages {
		if ids[p.SPDXID] {
			t.Errorf("two packages have the ID %s", p.SPDXID)
		}
		ids[p.SPDXID], versions[p.Name] = true, p.VersionInfo
	}
	if document.SPDXVersion != "SPDX-2.3" || versions["cooper"] != "v1.2.3" ||
		!strings.HasPrefix(versions["github.com/spf13/cobra"], "v1.") {
		t.Errorf("version %s, packages %v", document.SPDXVersion, versions)
	}
	for _, r := range document.Relationships {
		if !ids[r.Related] {
			t.Errorf("a relationship names %s, which is no package", r.Related)
		}
	}
}
