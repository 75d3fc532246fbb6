package runstep_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/internal/sshagent"
	"github.com/cooperbuild/cooper/build/internal/stepinput/inputtest"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/top"
)

func TestAStepHasTheEnvironmentFilesAndNameOfItsInstruction(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	op := sh(`echo "$A $HTTP_PROXY" >/out; /dev/pipes/script >>/out; /busybox hostname >>/out; /busybox pwd >>/out`)
	op.Env, op.ProxyEnv, op.Hostname = []string{"A=1"}, []string{"HTTP_PROXY=http://p"}, "somewhere"
	op.Files = []plan.InlineFile{{Path: "/dev/pipes/script", Mode: 0o755, Data: []byte("#!/busybox sh\necho script\n")}}
	env := slices.Clone(op.Env)
	got := b.out(t, b.room(runstep.Options{}), b.busybox(t), op)
	if got != "1 http://p\nscript\nsomewhere\n/\n" {
		t.Errorf("it sees %q", got)
	}
	if !slices.Equal(op.Env, env) {
		t.Errorf("the instruction's variables are %q now", op.Env)
	}
}

func TestNothingOfWhatIsShownStaysInTheLayer(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r := b.room(runstep.Options{
		Secrets: map[string]runstep.Secret{"s": runstep.Secret("hidden")}, AddHosts: []string{"a:1.2.3.4"},
		Volumes: []runstep.Volume{{Source: t.TempDir(), Target: "/new/volume"}},
	})
	op := sh("/busybox cat /run/secrets/s; echo x >/new/cache/f; echo x >/new/tmpfs/f; echo x >/new/volume/f; echo x >/kept",
		fromContext("/", "/new/ctx"), cacheMount("c", "/new/cache"), plan.Mount{Type: plan.MountTmpfs, Target: "/new/tmpfs"},
		plan.Mount{Type: plan.MountSecret, ID: "s", Target: "/run/secrets/s", Mode: 0o400})
	made := b.do(t, r, b.busybox(t), op)
	list := sh("/busybox find / -xdev -name '*' -type f >/out; /busybox ls -A / >>/out")
	list.Hostname = "x"
	got := strings.Fields(b.out(t, b.room(runstep.Options{}), made, list))
	for _, name := range got {
		if strings.Contains(name, "secret") || strings.Contains(name, "new") || strings.Contains(name, "hidden") {
			t.Errorf("the layer has %s", name)
		}
	}
	if !slices.Contains(got, "/kept") {
		t.Errorf("the layer has not what the step wrote: %q", got)
	}
}

func TestOptionalSecretsAndAgentsMayBeMissing(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	op := sh("/busybox ls /s /a 2>&1 | /busybox grep -c No >/out; echo \"${TOKEN-unset}\" >>/out",
		plan.Mount{Type: plan.MountSecret, ID: "s", Target: "/s", Env: "TOKEN"},
		plan.Mount{Type: plan.MountSSH, ID: "a", Target: "/a"})
	if got := b.out(t, b.room(runstep.Options{}), b.busybox(t), op); got != "2\nunset\n" {
		t.Errorf("the step sees %q", got)
	}
}

func TestASecretIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r := b.room(runstep.Options{Secrets: map[string]runstep.Secret{"s": runstep.Secret("text"), "empty": {}}})
	op := sh("/busybox stat -c '%u:%g %a %s' /s /e >/out; (echo x >/s) 2>/dev/null || true; /busybox cat /s >>/out; echo \":$TOKEN:\" >>/out",
		plan.Mount{Type: plan.MountSecret, ID: "s", Target: "/s", UID: 7, GID: 8, Mode: 0o440},
		plan.Mount{Type: plan.MountSecret, ID: "s", Env: "TOKEN"},
		plan.Mount{Type: plan.MountSecret, ID: "empty", Target: "/e", Mode: 0o400})
	got := b.out(t, r, b.busybox(t), op)
	if !strings.HasPrefix(got, "7:8 440 4\n0:0 400 0\n") || !strings.HasSuffix(got, ":text:\n") {
		t.Errorf("the step sees %q", got)
	}
	if again := r.Run.Secrets["s"]; string(again) != "text" {
		t.Errorf("the secret is %q now", string(again))
	}
}

func TestAStepFindsAnAgentAtItsSocket(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	agent := inputtest.Agent(t)
	r := b.room(runstep.Options{})
	r.Agents = map[string]*sshagent.Agent{"default": agent}
	op := sh("/busybox stat -c '%F %a %u' /agent >/out",
		plan.Mount{Type: plan.MountSSH, ID: "default", Target: "/agent", Mode: 0o600, UID: 3})
	got := b.out(t, r, b.busybox(t), op)
	if got != "socket 600 3\n" {
		t.Errorf("the step sees %q", got)
	}
}

func TestRunningStepsAreNotedForAsLongAsTheyRun(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	dir, err := runstep.RunDir(b.roots.Identity.User.ID)
	if err != nil {
		t.Fatal(err)
	}
	tag := "tag-of-" + filepath.Base(b.context) + strings.ReplaceAll(t.TempDir(), "/", "-")
	r := b.room(runstep.Options{})
	r.Tags, r.StepName = []string{tag}, func(*plan.Step) string { return "[builder 2/5]" }
	mine := func() (found []top.Step) {
		all, err := top.List(dir)
		if err != nil {
			t.Error(err)
		}
		return slices.DeleteFunc(all, func(s top.Step) bool { return !s.Match(tag) })
	}
	wait := t.TempDir()
	r.Run.Volumes = []runstep.Volume{{Source: wait, Target: "/wait"}}
	base, ended := b.busybox(t), make(chan error, 1)
	op := sh("/busybox mkfifo /wait/go; echo up >/wait/up; read x </wait/go; exit 3")
	op.User = "0"
	go func() {
		_, _, err := b.roots.Make(t.Context(), &plan.Step{Text: "RUN first\nsecond"}, base,
			r.Work(&plan.Step{Text: "RUN first\\\n second"}, op, noStep))
		ended <- err
	}()
	pipe := openPipe(t, filepath.Join(wait, "go"), ended)
	running := mine() // the step is noted when its process has begun
	for end := time.Now().Add(time.Minute); len(running) == 0 && time.Now().Before(end); running = mine() {
		time.Sleep(time.Millisecond)
	}
	if _, err := pipe.WriteString("x\n"); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, ended); !errors.As(err, new(*runstep.ExitError)) {
		t.Errorf("it ended with %v", err)
	}
	if len(running) != 1 || running[0].Number != "builder 2/5" || running[0].User != "0" || running[0].PID <= 0 ||
		!strings.HasPrefix(running[0].Instruction, "RUN first") || strings.Contains(running[0].Instruction, "\n") {
		t.Errorf("while it runs there are %+v", running)
	}
	if left := mine(); len(left) != 0 {
		t.Errorf("afterwards there are %+v", left)
	}
}

func TestOneNoteSaysThatStepsCanNotBeNoted(t *testing.T) { // it sets a variable
	b := newBuild(t)
	b.roots.Identity.User.ID = 1 // root has another place
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", file)
	seen := &events{}
	b.roots.Progress = seen
	r, base := b.room(runstep.Options{}), b.busybox(t)
	for _, text := range []string{"true", "true # again"} {
		b.do(t, r, base, sh(text))
	}
	if got := seen.text(); strings.Count(got, "cooper top doesn't show this build: ") != 1 ||
		!strings.Contains(got, file) {
		t.Errorf("it says %q", got)
	}
}

func TestAStepIsCancelledWithItsBuild(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base, wait := b.room(runstep.Options{}), b.busybox(t), t.TempDir()
	r.Run.Volumes = []runstep.Volume{{Source: wait, Target: "/wait"}}
	ctx, cancel := withCause(t)
	why, ended := errors.New("enough"), make(chan error, 1)
	go func() {
		op := sh("/busybox mkfifo /wait/go; read x </wait/go; /busybox sleep 1000")
		_, _, err := b.roots.Make(ctx, &plan.Step{}, base, r.Work(&plan.Step{}, op, noStep))
		ended <- err
	}()
	openPipe(t, filepath.Join(wait, "go"), ended)
	cancel(why)
	if err := waitFor(t, ended); !errors.Is(err, why) || errors.As(err, new(*runstep.ExitError)) {
		t.Errorf("it ended with %v", err)
	}
	if ran, _ := b.roots.Counts(); ran != 1 { // the base's
		t.Errorf("%d steps count as done", ran)
	}
}

func TestAStepThatMayNotDoWhatItsMapForbidsSaysSo(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	r, base := b.room(runstep.Options{}), b.busybox(t)
	op := sh("true")
	op.User = "nobody-here"
	if got := b.fail(t, r, base, op); !strings.Contains(got, "nobody-here") {
		t.Error(got)
	}
	op = sh("true")
	op.Args = []string{"/no/such/program"}
	if got := b.fail(t, r, base, op); !strings.Contains(got, "/no/such/program") {
		t.Error(got)
	}
}

func TestAMissingDirectoryIsMadeForTheUserOfTheStep(t *testing.T) {
	t.Parallel()
	b := newBuild(t)
	op := sh("/busybox stat -c %u:%g . >out")
	op.Cwd, op.User = "/home/me", "7:8"
	made := b.do(t, b.room(runstep.Options{}), b.busybox(t), sh("/busybox mkdir /home; /busybox chmod 777 /home"))
	_, _, err := b.roots.Make(t.Context(), &plan.Step{}, made, b.room(runstep.Options{}).Work(&plan.Step{}, op, noStep))
	// docker makes it for root, whoever the step is: what it is for is to be there.
	if err == nil || !errors.As(err, new(*runstep.ExitError)) {
		t.Errorf("the user can write to it: %v", err)
	}
	op.Args[3] = "/busybox stat -c %u:%g . "
	look := b.do(t, b.room(runstep.Options{}), made, op)
	if got := b.out(t, b.room(runstep.Options{}), look, sh("/busybox stat -c %u:%g /home/me >/out")); got != "0:0\n" {
		t.Errorf("it is of %q", got)
	}
}
