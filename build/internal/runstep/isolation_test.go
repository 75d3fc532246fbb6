package runstep

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/confine"
	"github.com/cooperbuild/cooper/build/internal/runtimes"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor"
)

// call is that of a step whose ID is 4, with a secret in a variable.
func call() runCall {
	return runCall{step: &plan.Step{ID: 4}, op: &plan.Run{Mounts: []plan.Mount{
		{Type: plan.MountSecret, ID: "s", Env: "TOKEN"}, {Type: plan.MountTmpfs, Target: "/t"},
	}}}
}

func TestBundlesAreKeptOfStepsThatARuntimeRuns(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	for name, o := range map[string]Options{
		"cooper itself": {KeepBundle: dir}, "nothing is kept": {Runtime: &Runtime{Path: "/crun"}}, "neither": {},
	} {
		s := executor.Step{}
		done, err := o.isolate(&s, call())
		if err != nil || done() != nil || s.KeepBundle != "" || s.Runtime != o.Runtime {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		if _, err := os.Lstat(dir); err == nil {
			t.Errorf("%s: makes a directory", name)
		}
	}
	o, s := Options{KeepBundle: dir, Runtime: &Runtime{Path: "/crun"}}, executor.Step{}
	done, err := o.isolate(&s, call())
	if err != nil {
		t.Fatal(err)
	}
	// Named by the directory that is open, whatever becomes of its path; and by the number that progress shows.
	if err := os.Rename(dir, dir+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.KeepBundle, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir+".moved", "5")); err != nil {
		t.Error(err)
	}
	if !slices.Contains(s.SecretEnv, "TOKEN") || !slices.Contains(s.SecretEnv, "https_proxy") ||
		!slices.Contains(s.SecretEnv, "HTTPS_PROXY") || slices.Contains(s.SecretEnv, "") {
		t.Errorf("secret variables are %q", s.SecretEnv)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.KeepBundle); err == nil {
		t.Error("the directory is still open")
	}
}

func TestADirectoryForBundlesThatCanNotBeMade(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{KeepBundle: file, Runtime: &Runtime{}}
	done, err := o.isolate(new(executor.Step), call())
	if err == nil || !strings.HasPrefix(err.Error(), "--keep-bundle: ") || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
	if err := runtimes.CheckKeepBundle(file); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("the check says %v", err)
	}
}

func TestOptionsSetAStepUp(t *testing.T) {
	t.Parallel()
	o := Options{
		AddHosts: []string{"a:1.2.3.4"}, ShmSize: 5, Limits: []string{"nofile=1:2"},
		Confinement: confine.Confinement{NoFilter: true, NoNewPrivs: true},
		CapAdd:      []string{"SYS_ADMIN", "CAP_NET_RAW"}, CapDrop: []string{"ALL"},
		DNS: DNS{Search: []string{"x"}},
	}
	var s executor.Step
	if err := o.apply(&s); err != nil {
		t.Fatal(err)
	}
	want, err := executor.ParseCaps([]string{"sys_admin", "net_raw"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Security.Caps == nil || *s.Security.Caps != want { // what is in both is added
		t.Errorf("capabilities %x, want %x", s.Security.Caps, want)
	}
	if !s.Security.NoFilter || !s.Security.NoNewPrivs || s.ShmSize != 5 || len(s.Limits) != 1 ||
		!cmp.Equal(s.AddHosts, o.AddHosts) || !cmp.Equal(s.DNS.Search, o.DNS.Search) {
		t.Errorf("the step is %+v", s)
	}
	s = executor.Step{}
	if err := (Options{}).apply(&s); err != nil || s.Security.Caps != nil || len(s.Limits) != 0 {
		t.Errorf("without options it is %+v, %v", s.Security, err)
	}
	for _, bad := range []Options{{Limits: []string{"wings=2"}}, {CapAdd: []string{"FLY"}}, {CapDrop: []string{"FLY"}}} {
		if bad.apply(&s) == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestAnExitErrorSaysHowTheCommandEnded(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]ExitError{
		"the command exited with status 3":             {Code: 3},
		"the command was ended by signal segmentation": {Code: 139, Signal: "segmentation"},
	} {
		if e.Error() != want {
			t.Errorf("%+v: %s", e, e.Error())
		}
	}
}

func TestTheStricterSharingWins(t *testing.T) {
	t.Parallel()
	shared, private, locked := plan.SharingShared, plan.SharingPrivate, plan.SharingLocked
	for _, tt := range [][3]plan.Sharing{
		{shared, shared, shared}, {shared, private, private}, {shared, locked, locked}, {private, locked, locked},
		{private, private, private}, {locked, locked, locked},
	} {
		for _, got := range []plan.Sharing{stricter(tt[0], tt[1]), stricter(tt[1], tt[0])} {
			if got != tt[2] {
				t.Errorf("%v and %v are used as %v", tt[0], tt[1], got)
			}
		}
	}
}
