package runstep_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/confine"
	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/internal/stepinput"
	"github.com/cooperbuild/cooper/build/internal/stepinput/inputtest"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) {
	os.Exit(usertest.Main(m.Run, store.HandleReexec))
}

// build is a build of one context on a base that has busybox.
type build struct {
	roots    *rootfs.Roots
	contexts *inputs.Contexts
	stats    *source.StatCache
	context  string
}

func newBuild(t *testing.T) build {
	t.Helper()
	own, err := userns.CurrentMapping()
	if err != nil {
		t.Fatal(err)
	}
	var identity rootfs.Identity
	if !userns.InInitial(own) { // an ordinary user runs the tests
		identity.Process = &own
	}
	in, dir := inputtest.Open(t, map[string]string{"a": "hello\n"}, identity)
	t.Cleanup(func() {
		if err := in.Roots.Wait(); err != nil {
			t.Error(err)
		}
	})
	return build{roots: in.Roots, contexts: in.Contexts, stats: in.Stats, context: dir}
}

func (b build) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.context, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// room has the RUN steps of a build with options.
func (b build) room(o runstep.Options) *runstep.Room {
	return runstep.New(runstep.Setup{
		Inputs: stepinput.Inputs{Roots: b.roots, Contexts: b.contexts, Stats: b.stats}, Run: o,
		StepName: func(*plan.Step) string { return "[1/1]" },
	})
}

func noStep(*plan.Step) *rootfs.Root { return nil }

// busybox is a root with that program.
func (b build) busybox(t *testing.T) *rootfs.Root {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal("these tests need a busybox that is linked statically: apt-get install busybox-static")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b.make(t, rootfs.Scratch(), putFile{"busybox", text})
}

func (b build) make(t *testing.T, below *rootfs.Root, w rootfs.Work) *rootfs.Root {
	t.Helper()
	r, _, err := b.roots.Make(t.Context(), &plan.Step{}, below, w)
	if err == nil {
		err = b.roots.Wait() // for the record, too, which has the test's context
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sh is a step that runs a shell command.
func sh(text string, mounts ...plan.Mount) *plan.Run {
	return &plan.Run{
		Args: []string{"/busybox", "sh", "-c", text}, Cwd: "/", Network: "none", Mounts: mounts,
		Platform: runstep.MachinePlatform(),
	}
}

func key(t *testing.T, r *runstep.Room, op *plan.Run) cache.Key {
	t.Helper()
	k, err := r.Work(&plan.Step{}, op, noStep).Keys()[0](t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (b build) read(t *testing.T, r *rootfs.Root, name string) string {
	t.Helper()
	return inputtest.Read(t, b.roots, r, name)
}

func TestAStepSeesItsMounts(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r := b.room(runstep.Options{Secrets: map[string]runstep.Secret{"s": runstep.Secret("hidden")}})
	op := sh("/busybox cat /ctx/a /secret >/out; echo $TOKEN >>/out; echo more >>/ctx/a; echo kept >/cache/f; /busybox test -e /tmpfs",
		plan.Mount{Type: plan.MountBind, Source: "/", Target: "/ctx"},
		plan.Mount{Type: plan.MountSecret, ID: "s", Target: "/secret", Env: "TOKEN", Mode: 0o400},
		plan.Mount{Type: plan.MountCache, ID: "c", Target: "/cache", Source: "/", Mode: 0o755, Sharing: plan.SharingShared},
		plan.Mount{Type: plan.MountTmpfs, Target: "/tmpfs", SizeBytes: 1 << 20},
	)
	made := b.make(t, b.busybox(t), r.Work(&plan.Step{}, op, noStep))
	if got := b.read(t, made, "out"); got != "hello\nhiddenhidden\n" {
		t.Errorf("the step saw %q", got)
	}
	if text, err := os.ReadFile(filepath.Join(b.context, "a")); err != nil || string(text) != "hello\n" {
		t.Errorf("the context has %q now, %v", text, err)
	}
	second := sh("/busybox cp /cache/f /out", plan.Mount{Type: plan.MountCache, ID: "c", Target: "/cache", Source: "/",
		Mode: 0o755, Sharing: plan.SharingLocked})
	if got := b.read(t, b.make(t, made, r.Work(&plan.Step{}, second, noStep)), "out"); got != "kept\n" {
		t.Errorf("the cache mount has %q", got)
	}
}

func TestHowACommandEndsIsAnExitError(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{}), b.busybox(t)
	for text, want := range map[string]runstep.ExitError{
		"exit 3":                      {Code: 3},
		"/busybox kill -9 $$; exit 1": {Code: 1}, // process 1 can't be ended by its own signal
	} {
		_, _, err := b.roots.Make(t.Context(), &plan.Step{}, base, r.Work(&plan.Step{}, sh(text), noStep))
		got := new(runstep.ExitError)
		if !errors.As(err, &got) || got.Code != want.Code || got.Signal != want.Signal {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAWorkingDirectoryThatIsMissingIsMade(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	op := sh("/busybox pwd >/out")
	op.Cwd = "/not/there"
	made := b.make(t, b.busybox(t), b.room(runstep.Options{}).Work(&plan.Step{}, op, noStep))
	if got := b.read(t, made, "out"); got != "/not/there\n" {
		t.Errorf("the step was in %q", got)
	}
}

func TestTheKeyHasAllThatAStepCanSeeAndNoSecret(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	op := sh("true")
	first := key(t, b.room(runstep.Options{}), op)
	for name, o := range map[string]runstep.Options{
		"hosts": {AddHosts: []string{"a:1.2.3.4"}}, "shm": {ShmSize: 1}, "limits": {Limits: []string{"nofile=5"}},
		"caps":    {CapAdd: []string{"SYS_ADMIN"}},
		"filter":  {Confinement: confine.Confinement{NoFilter: true}},
		"privs":   {Confinement: confine.Confinement{NoNewPrivs: true}},
		"volumes": {Volumes: []runstep.Volume{{Source: "/a", Target: "/b"}}},
	} {
		if key(t, b.room(o), op) == first {
			t.Errorf("%s: the key is the same", name)
		}
	}
	for name, o := range map[string]runstep.Options{
		"secrets": {Secrets: map[string]runstep.Secret{"s": nil}}, "dns": {DNS: runstep.DNS{Search: []string{"x"}}},
		"proxies": {Proxies: map[string]string{"a": "b"}},
		"bundle":  {KeepBundle: "/x"}, "network": onNetwork("none"), "read dirs": {ReadDirs: []string{"/"}},
	} {
		if key(t, b.room(o), op) != first {
			t.Errorf("%s: the key is another one", name)
		}
	}
}

func TestTheKeyHasTheContentOfABindMount(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, op := b.room(runstep.Options{}), sh("true", plan.Mount{Type: plan.MountBind, Source: "/a", Target: "/a"})
	first := key(t, r, op)
	b.write(t, "b", "another file")
	if key(t, r, op) != first {
		t.Error("a file that isn't mounted changes the key")
	}
	b.write(t, "a", "longer than before")
	if key(t, r, op) == first {
		t.Error("the key has not changed with the file")
	}
}

func TestAContextThatChangesMeanwhileIsNoticed(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	w := b.room(runstep.Options{}).Work(&plan.Step{},
		sh("true", plan.Mount{Type: plan.MountBind, Source: "/", Target: "/ctx"}), noStep)
	b.make(t, b.busybox(t), w)
	if stable, err := w.Stable(t.Context()); !stable || err != nil {
		t.Errorf("unchanged: %v, %v", stable, err)
	}
	b.write(t, "a", "longer than before")
	if stable, err := w.Stable(t.Context()); stable || err != nil {
		t.Errorf("changed: %v, %v", stable, err)
	}
}

func TestSecretsAndAgentsThatAreRequired(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{Secrets: map[string]runstep.Secret{"zero": runstep.Secret("a\x00b")}}), b.busybox(t)
	for want, m := range map[string]plan.Mount{
		`the secret "s" is required, and the build has none of that ID; given are zero`: {Type: plan.MountSecret, ID: "s",
			Target: "/s", Required: true},
		`the secret "zero" has a zero byte and can't be a variable`: {Type: plan.MountSecret, ID: "zero",
			Env: "X"},
		`the SSH agent "a" is required, and the build has none of that ID`: {Type: plan.MountSSH, ID: "a",
			Target: "/a", Required: true},
	} {
		_, _, err := b.roots.Make(t.Context(), &plan.Step{}, base, r.Work(&plan.Step{}, sh("true", m), noStep))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
}

func TestProgramsOfAnUnknownMachineAreItsFault(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	op := sh("true")
	op.Platform = ocispec.Platform{OS: "linux", Architecture: "vax"}
	op.Args = []string{"/odd"}
	base := b.make(t, rootfs.Scratch(), putFile{"odd", []byte("\x7fELFnot a program")})
	_, _, err := b.roots.Make(t.Context(), &plan.Step{}, base, b.room(runstep.Options{}).Work(&plan.Step{}, op, noStep))
	if !errors.Is(err, store.ErrMachine) || !strings.Contains(err.Error(), "RUN needs to execute linux/vax programs") {
		t.Errorf("%v", err)
	}
}

// putFile is work that makes an executable file.
type putFile struct {
	name string
	text []byte
}

func (p putFile) Shape() rootfs.Shape {
	return rootfs.Shape{Key: cache.NewKey("put").Add(p.name, string(p.text)).Key()}
}

func (p putFile) Keys() []rootfs.KeyFunc {
	return []rootfs.KeyFunc{func(context.Context, cache.ContentID) (cache.Key, error) { return p.Shape().Key, nil }}
}

func (p putFile) Exec(_ context.Context, to *rootfs.Staged) error {
	dir, _ := to.Snap.Files()
	return os.WriteFile(filepath.Join(dir, p.name), p.text, 0o755)
}

func (putFile) Stable(context.Context) (bool, error) { return true, nil }
