package runstep_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/internal/stepnet"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/userns"
)

func TestEachPartOfAnInstructionIsInTheKey(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r := b.room(runstep.Options{})
	seen := map[cache.Key]string{}
	for name, change := range map[string]func(*plan.Run){
		"nothing":           func(*plan.Run) {},
		"an argument":       func(o *plan.Run) { o.Args = append(o.Args, "more") },
		"arguments cut":     func(o *plan.Run) { o.Args = []string{"/busybox", "sh", "-ctrue"} },
		"a variable":        func(o *plan.Run) { o.Env = []string{"A=1"} },
		"another variable":  func(o *plan.Run) { o.Env = []string{"A=2"} },
		"two variables":     func(o *plan.Run) { o.Env = []string{"A=1", "B=2"} },
		"one long variable": func(o *plan.Run) { o.Env = []string{"A=1B=2"} },
		"the directory":     func(o *plan.Run) { o.Cwd = "/tmp" },
		"the user":          func(o *plan.Run) { o.User = "1" },
		"the network":       func(o *plan.Run) { o.Network = "host" },
		"the platform":      func(o *plan.Run) { o.Platform = ocispec.Platform{OS: "linux", Architecture: "s390x"} },
		"insecure":          func(o *plan.Run) { o.Insecure = true },
		"the host name":     func(o *plan.Run) { o.Hostname = "a" },
		"another host name": func(o *plan.Run) { o.Hostname = "b" },
		"a file":            func(o *plan.Run) { o.Files = []plan.InlineFile{{Path: "/f"}} },
		"a file's text":     func(o *plan.Run) { o.Files = []plan.InlineFile{{Path: "/f", Data: []byte("x")}} },
		"a file's mode":     func(o *plan.Run) { o.Files = []plan.InlineFile{{Path: "/f", Mode: 0o755}} },
		"a tmpfs":           func(o *plan.Run) { o.Mounts = []plan.Mount{{Type: plan.MountTmpfs, Target: "/t"}} },
		"a tmpfs's place":   func(o *plan.Run) { o.Mounts = []plan.Mount{{Type: plan.MountTmpfs, Target: "/u"}} },
		"a tmpfs's size": func(o *plan.Run) {
			o.Mounts = []plan.Mount{{Type: plan.MountTmpfs, Target: "/t",
				SizeBytes: 1}}
		},
		"a read-only tmpfs": func(o *plan.Run) {
			o.Mounts = []plan.Mount{{Type: plan.MountTmpfs, Target: "/t",
				ReadOnly: true}}
		},
		"a cache":       func(o *plan.Run) { o.Mounts = []plan.Mount{{Type: plan.MountCache, Target: "/t", ID: "a"}} },
		"another cache": func(o *plan.Run) { o.Mounts = []plan.Mount{{Type: plan.MountCache, Target: "/t", ID: "b"}} },
		"a cache's owner": func(o *plan.Run) {
			o.Mounts = []plan.Mount{{Type: plan.MountCache, Target: "/t", ID: "a",
				UID: 1}}
		},
		"a secret": func(o *plan.Run) {
			o.Mounts = []plan.Mount{{Type: plan.MountSecret, Target: "/t",
				ID: "a"}}
		},
		"a secret's variable":  func(o *plan.Run) { o.Mounts = []plan.Mount{{Type: plan.MountSecret, ID: "a", Env: "A"}} },
		"an agent":             func(o *plan.Run) { o.Mounts = []plan.Mount{{Type: plan.MountSSH, Target: "/t", ID: "a"}} },
		"two mounts":           func(o *plan.Run) { o.Mounts = make([]plan.Mount, 2) },
		"a bind mount of none": func(o *plan.Run) { o.Mounts = make([]plan.Mount, 1) },
	} {
		op := sh("true")
		change(op)
		k := key(t, r, op)
		if other, ok := seen[k]; ok {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[k] = name
	}
}

func TestWhatOnlyReachesTheOutsideIsNotInTheKey(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r := b.room(runstep.Options{})
	first := key(t, r, sh("true"))
	for name, change := range map[string]func(*plan.Run){
		"a proxy": func(o *plan.Run) { o.ProxyEnv = []string{"HTTP_PROXY=http://user:password@proxy"} },
	} {
		op := sh("true")
		change(op)
		if key(t, r, op) != first {
			t.Errorf("%s changes the key", name)
		}
	}
	// The flag says for all steps what an instruction may say for itself.
	usual, none := sh("true"), sh("true")
	usual.Network = ""
	if key(t, b.room(onNetwork(stepnet.None)), usual) != key(t, r, none) {
		t.Error("the network of the flag is another one than that of the instruction")
	}
	if key(t, b.room(runstep.Options{}), usual) != key(t, b.room(onNetwork(stepnet.Host)), usual) {
		t.Error("without a flag there is no way out")
	}
	usual.Network = "default"
	if key(t, b.room(onNetwork(stepnet.None)), usual) != first {
		t.Error("the network \"default\" isn't that of the flag")
	}
	required, optional := plan.Mount{Type: plan.MountSecret, ID: "a", Target: "/a", Required: true},
		plan.Mount{Type: plan.MountSecret, ID: "a", Target: "/a"}
	if key(t, r, sh("true", required)) != key(t, r, sh("true", optional)) {
		t.Error("that a secret is required changes the key")
	}
}

func TestTheKeyHasTheStepsNamespace(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	op := sh("true")
	of := func() cache.Key { return key(t, b.room(runstep.Options{}), op) }
	without := of()
	m := b.mapped(t)
	with := of()
	m.UIDs = userns.Map{{Container: 0, Host: 300000, Length: 65536}}
	b.as(t, rootfs.Identity{StepNS: rootfs.StepNS{Steps: &m}})
	other := of()
	b.as(t, rootfs.Identity{StepNS: rootfs.StepNS{Auto: &userns.AutoOptions{}}})
	keys := map[cache.Key]bool{without: true, with: true, other: true, of(): true}
	if len(keys) != 4 {
		t.Errorf("of four namespaces there are %d keys", len(keys))
	}
}

func TestTheKeyHasWhatIsBelowAndAStageThatIsShown(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{}), b.busybox(t)
	m := plan.Mount{Type: plan.MountBind, From: plan.Input{Kind: plan.InputStep, Step: &plan.Step{}}, Source: "/",
		Target: "/m"}
	of := func(shown *rootfs.Root, below cache.ContentID) cache.Key {
		w := r.Work(&plan.Step{}, sh("true", m), func(*plan.Step) *rootfs.Root { return shown })
		k, err := w.Keys()[0](t.Context(), below)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := of(base, "")
	if of(base, "") != first {
		t.Error("the same step has two keys")
	}
	if of(rootfs.Scratch(), "") == first {
		t.Error("another stage has the same key")
	}
	if of(base, "other") == first {
		t.Error("on another root it has the same key")
	}
}

func TestAnIgnoredFileIsNotInTheKey(t *testing.T) {
	t.Parallel()
	b := newBuild(t).withContext(t, map[string]string{".dockerignore": "hidden\n.dockerignore\n", "hidden": "x", "a": "x"})
	r, op := b.room(runstep.Options{}), sh("true", fromContext("/", "/ctx"))
	first := key(t, r, op)
	b.write(t, "hidden", "another text")
	if key(t, r, op) != first {
		t.Error("a file that is hidden changes the key")
	}
	if err := os.Chmod(filepath.Join(b.context, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	if key(t, r, op) == first {
		t.Error("the mode of a file doesn't change the key")
	}
}

func TestAKeyThatCanNotBeMadeNamesTheMount(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	w := b.room(runstep.Options{}).Work(&plan.Step{}, sh("true", fromContext("/nowhere", "/m")), noStep)
	_, err := w.Keys()[0](t.Context(), "")
	if err == nil || !strings.HasPrefix(err.Error(), "mount /m: ") || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w = b.room(runstep.Options{}).Work(&plan.Step{}, sh("true", fromContext("/", "/m")), noStep)
	if _, err = w.Keys()[0](ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

func TestAStepIsRunOnce(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{}), b.busybox(t)
	count := t.TempDir()
	r.Run.Volumes = []runstep.Volume{{Source: count, Target: "/count"}}
	op := sh("echo x >>/count/times; /busybox date +%N >/out", fromContext("/", "/ctx"))
	first, again := b.out(t, r, base, op), b.out(t, r, base, op)
	text, err := os.ReadFile(filepath.Join(count, "times"))
	if first != again || string(text) != "x\n" || err != nil {
		t.Errorf("it was run %q times, %v: %s, then %s", text, err, first, again)
	}
	b.write(t, "a", "another text, which the step sees")
	b.do(t, r, base, op)
	if text, err = os.ReadFile(filepath.Join(count, "times")); string(text) != "x\nx\n" {
		t.Errorf("after a change it was run %q times, %v", text, err)
	}
}

// onNetwork are options with a network.
func onNetwork(kind string) runstep.Options {
	return runstep.Options{Options: stepnet.Options{Network: kind}}
}
