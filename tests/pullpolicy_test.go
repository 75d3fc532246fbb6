package tests_test

import (
	"strings"
	"testing"
)

// TestANewerImageIsPulled builds on a name that another image gets meanwhile, and then without a registry.
func TestANewerImageIsPulled(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		from, s := newSite(t, m), newSite(t, m)
		address, stop := from.startRegistry(t)
		name := address + "/lib/app:1"
		push := func(text string) {
			from.busybox(t, "base")
			from.write(t, "app/Containerfile", "FROM base\nRUN echo "+text+" >/version\n")
			from.build(t, "-t", "app", "app")
			from.pushAs(t, "oci", "localhost/app:latest", name)
		}
		s.write(t, "ctx/Containerfile", "FROM "+name+"\nARG WANT\nRUN test $(cat /version) = $WANT\n")
		build := func(policy, want string) result {
			return s.cooper(t, "build", "--tls-verify=false", "--retry=1", "--retry-delay=1ms", "--pull="+policy, "--build-arg",
				"WANT="+want, "ctx")
		}
		works := func(r result, says string) {
			t.Helper()
			if r.Code != 0 || !strings.Contains(r.Stderr, says) {
				t.Errorf("status %d, not 0, without %q:\n%s", r.Code, says, tail(r.Stderr))
			}
		}
		push("one")
		works(build("newer", "one"), "")
		push("two")
		works(build("missing", "one"), "")
		works(build("newer", "two"), "looking for a newer "+name)
		stop()
		works(build("newer", "two"), "using the image "+name+" in the store: ")
		gone := build("always", "two")
		gone.fails(t, 1, "pulling once more in 1ms", "connection refused", name)
		if n := strings.Count(gone.Stderr, "pulling once more"); n != 1 {
			t.Errorf("pulled again %d times:\n%s", n, gone.Stderr)
		}
	})
}
