package dialect

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// manual are the flags that a tool's manual has, as a committed file lists them: short names by long ones.
func manual(t *testing.T, tool, version string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", tool+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	head, lines, _ := strings.Cut(string(text), "\n")
	if !strings.Contains(head, " "+version+",") {
		t.Errorf("the list of %s is of another version than %s: %s", tool, version, head)
	}
	flags := map[string]string{}
	for line := range strings.Lines(lines) {
		long, short, _ := strings.Cut(strings.TrimSpace(line), " ")
		flags[long] = short
	}
	return flags
}

// flag is what both tables have of a flag.
type flag struct {
	name, short string
	tools       Tools
	unlisted    bool
}

// compare holds rows against the manual of one tool.
func compare(t *testing.T, rows []flag, tool Tools, listed map[string]string) {
	t.Helper()
	found := map[string]bool{}
	for _, f := range rows {
		if f.tools&tool == 0 {
			continue
		}
		short, is := listed[f.name]
		switch {
		case f.unlisted && is:
			t.Errorf("--%s is in the manual", f.name)
		case !f.unlisted && !is:
			t.Errorf("--%s is not in the manual", f.name)
		case is && short != f.short:
			t.Errorf("--%s has the short form %q, the manual has %q", f.name, f.short, short)
		}
		if found[f.name] {
			t.Errorf("--%s has two rows", f.name)
		}
		found[f.name] = true
	}
	for name := range listed {
		if !found[name] {
			t.Errorf("no row has --%s", name)
		}
	}
}

func TestEachFlagOfEachToolsManualHasARow(t *testing.T) {
	t.Parallel()
	var rows []flag
	for _, f := range Flags() {
		rows = append(rows, flag{f.Name, f.Short, f.Tools, f.Unlisted})
	}
	for _, tt := range []struct {
		tool          Tools
		name, version string
	}{{OfBuildx, "buildx", BuildxVersion}, {OfDocker, "docker", DockerVersion}, {OfPodman, "podman", PodmanVersion},
		{OfBuildah, "buildah", BuildahVersion}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			compare(t, rows, tt.tool, manual(t, tt.name, tt.version))
		})
	}
}

func TestEachOptionBeforeTheVerbHasARow(t *testing.T) {
	t.Parallel()
	var rows []flag
	for _, g := range Globals() {
		rows = append(rows, flag{g.Name, g.Short, g.Tools, g.Unlisted})
	}
	for _, tt := range []struct {
		tool          Tools
		name, version string
	}{{OfDocker, "docker", DockerVersion}, {OfPodman, "podman", PodmanVersion}, {OfBuildah, "buildah", BuildahVersion}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			compare(t, rows, tt.tool, manual(t, tt.name+"-global", tt.version))
		})
	}
}

// TestTheInstalledToolsHaveNoFlagWithoutARow looks at the help of the tools that this machine has: older ones than
// those of the lists, whose flags scripts still give.
func TestTheInstalledToolsHaveNoFlagWithoutARow(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"buildah build", "podman build", "docker buildx build", "docker build"} {
		words := strings.Fields(line)
		if _, err := exec.LookPath(words[0]); err != nil {
			t.Logf("%s is not installed", words[0])
			continue
		}
		out, err := exec.Command(words[0], append(words[1:], "--help")...).Output()
		if err != nil {
			t.Logf("%s: %v", line, err)
			continue
		}
		if !strings.Contains(string(out), "--build-arg") {
			t.Logf("%s is not there", line) // docker without its plugin
			continue
		}
		for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`).FindAllStringSubmatch(string(out), -1) {
			if !slices.ContainsFunc(Flags(), func(f Flag) bool { return f.Name == m[1] }) {
				t.Errorf("%s has --%s, and no row has it", line, m[1])
			}
		}
	}
}

func TestRowsSayWhatTheirKindNeeds(t *testing.T) {
	t.Parallel()
	for _, f := range Flags() {
		switch {
		case f.Kind == Refused && (f.Text == "" || f.Way == ""), f.Kind == Noted && f.Text == "",
			f.Kind != Refused && f.Way != "", f.Kind == Own && len(f.Harmless) > 0,
			f.Kind == Vain && len(f.Harmless) > 0 && f.Text == "":
			t.Errorf("--%s: %+v", f.Name, f)
		}
	}
	for _, g := range Globals() {
		if !g.Here && g.Flag == "" && g.Variable == "" && g.Text == "" {
			t.Errorf("--%s: %+v", g.Name, g)
		}
	}
}
