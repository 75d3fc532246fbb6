package tests_test

import (
	"strings"
	"testing"
)

// TestTheLimitsPageSaysWhatIsSaid runs the commands of docs/limits.md, each with a step that meets its limit, and holds
// what the page says against what they say.
func TestTheLimitsPageSaysWhatIsSaid(t *testing.T) {
	steps := map[string]string{
		"-m":             `x=$(head -c 40000000 /dev/zero | tr '\0' x); y=$x$x; echo ate`,
		"--step-timeout": "sleep 600",
		"--log-limit":    "n=0; while [ $n -lt 300 ]; do n=$((n+1)); echo line $n; done",
	}
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.build(t, "-q", "-t", "base", "busybox")
		seen := 0
		for _, block := range indented(t, "../docs/limits.md") {
			var words []string
			for line := range strings.Lines(block) {
				line = strings.TrimSpace(line)
				if says, is := strings.CutPrefix(line, "> "); is {
					seen++
					s.write(t, "ctx/Dockerfile", "FROM base\nRUN "+steps[words[2]]+"\n")
					cmd := s.command(suite.cooper, append(words[1:], "--progress=plain")...)
					cmd.Dir = s.path("ctx")
					if r := runCommand(t, cmd); !strings.Contains(r.Stderr, says) {
						t.Errorf("%q: the page promises %q, and it says\n%s", words, says, tail(r.Stderr))
					}
					continue
				}
				if line != "" {
					words = strings.Fields(line)
				}
			}
			if len(words) > 0 && words[0] != "cooper" {
				t.Errorf("no command of cooper's: %q", words)
			}
		}
		if seen != len(steps) {
			t.Errorf("the page has %d commands, %d are known", seen, len(steps))
		}
	})
}
