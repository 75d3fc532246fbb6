package stepinput_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/internal/stepinput"
	"github.com/cooperbuild/cooper/build/internal/stepinput/inputtest"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) {
	os.Exit(usertest.Main(m.Run, store.HandleReexec))
}

// open gives the inputs of a build and the directory of its context, which has a file "a" and hides a file "hidden".
func open(t *testing.T) (stepinput.Inputs, string) {
	t.Helper()
	return inputtest.Open(t, map[string]string{".dockerignore": "hidden\n", "a": "1", "hidden": "1"}, rootfs.Identity{})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func scratch(*plan.Step) *rootfs.Root { return rootfs.Scratch() }

func TestAContextIsNamedByTheFilesThatTheIgnoreFileLeaves(t *testing.T) {
	t.Parallel()
	from, dir := open(t)
	in := from.Of(plan.Input{Kind: plan.InputContext}, scratch)
	if id, err := in.Identity(t.Context()); !in.Local() || in.Root() != nil || id != "" || err != nil {
		t.Errorf("local %v, root %v, identity %q, %v", in.Local(), in.Root(), id, err)
	}
	digest := func() string {
		d, err := in.Digest(t.Context(), []string{"/"}, source.Digest)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := digest()
	write(t, filepath.Join(dir, "hidden"), "another text")
	if digest() != first {
		t.Error("a file that is ignored changes the digest")
	}
	write(t, filepath.Join(dir, "a"), "another text")
	if digest() == first {
		t.Error("the digest has not changed with the file")
	}
}

func TestAnEmptyStageHasADirectory(t *testing.T) {
	t.Parallel()
	from, _ := open(t)
	in := from.Of(plan.Input{Kind: plan.InputStep, Step: &plan.Step{}}, scratch)
	o, err := in.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d", o.Dir.Fd()))
	if in.Local() || len(names) > 0 || o.Filter != nil || err != nil {
		t.Errorf("local %v, has %v, filter %v, %v", in.Local(), names, o.Filter, err)
	}
	if err := o.Release(); err != nil {
		t.Error(err)
	}
}

func TestAFileThatMayNotBeReadIsExplainedForContextsOnly(t *testing.T) {
	t.Parallel()
	from, _ := open(t)
	denied := &os.PathError{Op: "open", Path: "a", Err: unix.EACCES}
	context, stage := from.Of(plan.Input{Kind: plan.InputContext}, scratch),
		from.Of(plan.Input{Kind: plan.InputStep, Step: &plan.Step{}}, scratch)
	o, err := context.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := context.Explain(denied, o.Filter).Error(); !strings.Contains(got,
		"leave it out with a line in .dockerignore") {
		t.Error(got)
	}
	if got := context.Explain(denied, nil).Error(); !strings.Contains(got, "a .dockerignore at the top of the context") {
		t.Error(got)
	}
	if got := stage.Explain(denied, nil); !errors.Is(got, denied) || strings.Contains(got.Error(), "hint") {
		t.Error(got)
	}
	if got := context.Explain(unix.ENOSPC, o.Filter); !errors.Is(got, unix.ENOSPC) ||
		strings.Contains(got.Error(), "hint") {
		t.Error(got)
	}
}

// TestAStageIsNamedByWhatIsInIt for a step that wants all of it, and by its files for others.
func TestAStageIsNamedByWhatIsInIt(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, store.Options{Driver: "overlay"}, rootfs.Options{})
	from := stepinput.Inputs{Roots: b.Roots}
	in := func(files ...string) stepinput.Input {
		root, _ := b.Do(t, rootfs.Scratch(), roottest.Files(strings.Join(files, " "), files...))
		return from.Of(plan.Input{Kind: plan.InputStep, Step: &plan.Step{}}, func(*plan.Step) *rootfs.Root { return root })
	}
	one, same, other := in("a=1", "b=1"), in("b=1", "a=1"), in("a=1", "b=2")
	ids := map[string]bool{}
	for _, i := range []stepinput.Input{one, same, other} {
		id, err := i.Identity(t.Context())
		if err != nil || id == "" || i.Local() || i.Root() == nil || id != string(i.Root().Content()) {
			t.Errorf("identity %q, local %t, %v", id, i.Local(), err)
		}
		ids[id] = true
	}
	if len(ids) != 2 {
		t.Errorf("the three have %d names", len(ids))
	}
	digest := func(i stepinput.Input, pattern string) string {
		d, err := i.Digest(t.Context(), []string{pattern}, source.Digest)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if digest(one, "a") != digest(other, "a") || digest(one, "b") == digest(other, "b") {
		t.Error("files are named by others")
	}
	o, err := other.For(rootfs.NS{}).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/b", o.Dir.Fd()))
	if err != nil || string(text) != "2" || len(o.Layers) != 1 || o.Filter != nil {
		t.Errorf("it shows %q with %d layers, filter %v, %v", text, len(o.Layers), o.Filter, err)
	}
	if err := o.Release(); err != nil {
		t.Error(err)
	}
}
