package tests_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestTheDifferencesOfImagesAreShown compares builds of the same file with other arguments.
func TestTheDifferencesOfImagesAreShown(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile",
			"FROM base\nARG V\nENV V=$V\nRUN echo $V >/v && echo same >/same && chown $V /owned || "+
				"{ touch /owned; chown $V /owned; }\nRUN test $V = 1 || rm /etc/passwd\n")
		s.build(t, "-t", "one", "--build-arg", "V=1", "ctx")
		s.build(t, "-t", "two", "--build-arg", "V=2", "ctx")
		s.mustCooper(t, "tag", "one", "again")
		if out := s.mustCooper(t, "diff", "one", "again"); out != "" {
			t.Errorf("an image differs from itself: %s", out)
		}
		r := s.cooper(t, "diff", "one", "two")
		for _, want := range []string{"config.Env", "\"V=1\"", "~ /v  (content", "~ /owned  (owner", "- /etc/passwd",
			"by RUN "} {
			if !strings.Contains(r.Stdout, want) {
				t.Errorf("there is no %q in\n%s", want, r.Stdout)
			}
		}
		if r.Code != 1 || r.Stderr != "" || strings.Contains(r.Stdout, "/same  (content") ||
			strings.Contains(r.Stdout, "busybox") {
			t.Errorf("status %d, %s\n%s", r.Code, r.Stderr, r.Stdout)
		}
		var report struct {
			Config, History, Layers []any
			Files                   []struct{ Path, Change, Step string }
		}
		r = s.cooper(t, "diff", "--format", "json", "one", "two")
		if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil || r.Code != 1 || len(report.Layers) == 0 ||
			len(report.Files) == 0 {
			t.Errorf("as JSON: status %d, %v\n%s", r.Code, err, r.Stdout)
		}
		if r := s.cooper(t, "diff", "one", "tw"); r.Code != 1 || !strings.Contains(r.Stderr, "did you mean two?") {
			t.Errorf("an image that isn't there: %d, %s", r.Code, r.Stderr)
		}
		s.checkNoLeftovers(t)
	})
}
