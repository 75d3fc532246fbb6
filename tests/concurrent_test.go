package tests_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// atOnce runs builds at the same time and returns their image IDs.
func (s *site) atOnce(t *testing.T, builds [][]string) []string {
	t.Helper()
	ids := make([]string, len(builds))
	failures := make([]string, len(builds))
	var wait sync.WaitGroup
	for i, args := range builds {
		wait.Go(func() {
			cmd := s.command(suite.cooper, append([]string{"build", "--progress=plain"}, args...)...)
			var errs strings.Builder
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil {
				failures[i] = fmt.Sprintf("build %d: %v\n%s", i, err, tail(errs.String()))
			}
			ids[i] = strings.TrimSpace(string(out))
		})
	}
	wait.Wait()
	for _, f := range failures {
		if f != "" {
			t.Error(f)
		}
	}
	return ids
}

func TestBuildsAtTheSameTime(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "same/Containerfile", "FROM base\nRUN echo 1 >/1; sleep 0.2\nCOPY Containerfile /f\nRUN chown 33 /1\n")
		ids := s.atOnce(t, [][]string{{"-t", "same", "same"}, {"-t", "same", "same"}, {"-t", "same", "same"}})
		if ids[0] != ids[1] || ids[1] != ids[2] {
			t.Errorf("the same file at the same time gave %s", strings.Join(ids, ", "))
		}
		var builds [][]string
		for i := range 10 {
			dir := fmt.Sprintf("different%d", i)
			s.write(t, dir+"/Containerfile", fmt.Sprintf(
				"FROM base\nRUN --mount=type=cache,target=/c echo %[1]d >>/c/all; echo %[1]d >/n\nRUN dd if=/dev/zero of=/z bs=100k count=%[1]d\nRUN rm /n\n", i))
			builds = append(builds, []string{"-t", dir, dir})
		}
		seen := map[string]bool{}
		for _, id := range s.atOnce(t, builds) {
			if seen[id] {
				t.Errorf("two different builds gave %s", id)
			}
			seen[id] = true
		}
		s.checkNoLeftovers(t)
		s.checkStore(t, "different7")
		s.checkStore(t, "same")
		s.write(t, "count/Containerfile", "FROM base\nRUN --mount=type=cache,target=/c test $(wc -l </c/all) = 10\n")
		s.build(t, "count")
	})
}
