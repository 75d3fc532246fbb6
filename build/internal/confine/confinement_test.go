package confine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/executor"
)

func TestLabelsReplacePartsOfCoopersOwnContext(t *testing.T) {
	const own = "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023"
	for labels, want := range map[string]string{
		"type:container_t":                "unconfined_u:unconfined_r:container_t:s0-s0:c0.c1023",
		"level:s0:c1,c2":                  "unconfined_u:unconfined_r:unconfined_t:s0:c1,c2",
		"user:u_u role:r_r type:t_t":      "u_u:r_r:t_t:s0-s0:c0.c1023",
		"type:a_t type:b_t level:s0:c100": "unconfined_u:unconfined_r:b_t:s0:c100",
	} {
		if got, err := relabel(own, strings.Fields(labels)); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", labels, got, err, want)
		}
	}
	if got, err := relabel("u:r:t", []string{"level:s0"}); err != nil || got != "u:r:t:s0" {
		t.Errorf("a policy without levels: %q %v", got, err)
	}
	if _, err := relabel("kernel", []string{"type:t"}); err == nil ||
		!strings.Contains(err.Error(), `"kernel", which has no type`) {
		t.Errorf("%v", err)
	}
}

func TestALabelWithoutSELinuxIsSaidToHaveNoEffect(t *testing.T) {
	if _, err := os.Stat(seLinuxStatus); err == nil {
		t.Log("this kernel has SELinux: the label has an effect")
		return
	}
	var c Confinement
	notes, err := c.Set([]string{"label=type:x_t", "label=level:s0"})
	if err != nil || len(notes) != 1 ||
		!strings.HasPrefix(notes[0], "--security-opt label=type:x_t, label=level:s0 has no effect") {
		t.Errorf("%q %v", notes, err)
	}
}

func TestProfilesAreReadOnceAndBounded(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "profile.json")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for says, text := range map[string]string{
		"":            `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}`,
		"no action":   `{"defaultAction": "SCMP_ACT_MAYBE"}`,
		"unexpected":  `{`,
		"larger than": strings.Repeat(" ", 2*executor.MaxProfile),
	} {
		var c Confinement
		_, err := c.Set([]string{"seccomp=" + write(text)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = c.Filter(nil); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%.40s: %v, want %q", text, err, says)
		}
	}
	var c Confinement
	for _, opts := range [][]string{{"seccomp=builtin"}, {"seccomp=" + write("{}"), "seccomp=builtin"}} {
		if _, err := c.Set(opts); err != nil || c.Profile != nil || c.NoFilter {
			t.Errorf("%q: %+v %v", opts, c, err)
		}
	}
}
