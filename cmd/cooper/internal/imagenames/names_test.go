package imagenames

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestANameHasTheSpellingsThatLeadToIt(t *testing.T) {
	t.Parallel()
	for full, want := range map[string][]string{
		"localhost/app:latest":           {"localhost/app:latest", "app:latest", "localhost/app", "app"},
		"docker.io/library/alpine:3":     {"docker.io/library/alpine:3", "alpine:3"},
		"docker.io/team/app:latest":      {"docker.io/team/app:latest", "team/app:latest", "docker.io/team/app", "team/app"},
		"quay.io/a/b:1":                  {"quay.io/a/b:1"},
		"quay.io/a/b@sha256:0123456789a": {"quay.io/a/b@sha256:0123456789a"},
	} {
		if diff := cmp.Diff(want, spellings(full)); diff != "" {
			t.Errorf("%s: %s", full, diff)
		}
	}
}
