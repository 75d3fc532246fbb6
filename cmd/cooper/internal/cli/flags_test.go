package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

// options are those of a build with flags.
func options(t *testing.T, flags ...string) (build.RunOptions, error) {
	t.Helper()
	var r runFlags
	set := pflag.NewFlagSet("build", pflag.ContinueOnError)
	r.register(set)
	if err := set.Parse(flags); err != nil {
		t.Fatal(err)
	}
	return r.options()
}

func TestFlagsAboutStepsBecomeOptions(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "/agent")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	base := build.RunOptions{Network: "host", Agents: map[string][]string{}}
	with := func(change func(*build.RunOptions)) build.RunOptions {
		o := base
		change(&o)
		return o
	}
	for line, want := range map[string]build.RunOptions{
		"":                  base,
		"--network=default": base,
		"--network=private --host-loopback=80,8080": with(func(o *build.RunOptions) {
			o.Network, o.HostLoopback = "private", []uint16{80, 8080}
		}),
		"--network=bridge":     with(func(o *build.RunOptions) { o.Network = "private" }),
		"--network=ns:/x/../y": with(func(o *build.RunOptions) { o.Network, o.NetworkNS = "ns", "/y" }),
		"--network=host":       with(func(o *build.RunOptions) { o.HostNetwork = true }),
		"--network=none":       with(func(o *build.RunOptions) { o.Network = "none" }),
		"--allow=network.host,security.insecure": with(func(o *build.RunOptions) {
			o.HostNetwork, o.Insecure = true, true
		}),
		"--allow=fs.read=/a --allow=fs.read=b": with(func(o *build.RunOptions) {
			o.ReadDirs = []string{"/a", filepath.Join(here, "b")}
		}),
		"--add-host=a:1.2.3.4 --add-host=b=::1": with(func(o *build.RunOptions) {
			o.AddHosts = []string{"a:1.2.3.4",
				"b=::1"}
		}),
		"--dns=1.1.1.1,2.2.2.2 --dns-search=x --dns-option=ndots:2": with(func(o *build.RunOptions) {
			o.DNS = build.DNS{Servers: []string{"1.1.1.1", "2.2.2.2"}, Search: []string{"x"}, Options: []string{"ndots:2"}}
		}),
		"--dns=none":          with(func(o *build.RunOptions) { o.DNS = build.DNS{None: true} }),
		"--shm-size=16m":      with(func(o *build.RunOptions) { o.ShmSize = 16 << 20 }),
		"--ulimit=nofile=1:2": with(func(o *build.RunOptions) { o.Limits = []string{"nofile=1:2"} }),
		"--cap-add=SYS_ADMIN --cap-drop=ALL": with(func(o *build.RunOptions) {
			o.CapAdd, o.CapDrop = []string{"SYS_ADMIN"},
				[]string{"ALL"}
		}),
		"--security-opt=seccomp=unconfined":   with(func(o *build.RunOptions) { o.NoFilter = true }),
		"--security-opt=seccomp:unconfined":   with(func(o *build.RunOptions) { o.NoFilter = true }),
		"--security-opt=no-new-privileges":    with(func(o *build.RunOptions) { o.NoNewPrivs = true }),
		"--security-opt=no-new-privileges=no": {},
		"--security-opt=label=disable --security-opt=apparmor=unconfined --security-opt=no-new-privileges=false": base,
		"--volume=/a:/b:ro": with(func(o *build.RunOptions) {
			o.Volumes = []build.Volume{{Source: "/a", Target: "/b", ReadOnly: true}}
		}),
		"--ssh=default": with(func(o *build.RunOptions) { o.Agents = map[string][]string{"default": {"/agent"}} }),
		"--ssh=a=k,l --ssh=b=/s": with(func(o *build.RunOptions) {
			o.Agents = map[string][]string{"a": {"k", "l"}, "b": {"/s"}}
		}),
		"--allow=buildx.local.delete": base,
		"--isolation=native":          base,
		"--isolation=oci":             base,
		"--runtime=crun":              base, // it is looked for later
	} {
		got, err := options(t, strings.Fields(line)...)
		if refused := want.Network == ""; refused != (err != nil) {
			t.Errorf("%s: %v", line, err)
		} else if diff := cmp.Diff(want, got); diff != "" && !refused {
			t.Errorf("%s (-want +got)\n%s", line, diff)
		}
	}
}

func TestProxiesOfTheEnvironmentAreGivenIfAskedAndNotGivenOtherwise(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"} {
		for _, spelling := range []string{name, strings.ToLower(name)} {
			t.Setenv(spelling, "")
			if err := os.Unsetenv(spelling); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("HTTP_PROXY", "upper")
	t.Setenv("http_proxy", "lower")
	t.Setenv("NO_PROXY", "none")
	t.Setenv("https_proxy", "other")
	value := "mine"
	args := map[string]*string{"https_PROXY": &value}
	if got := (&runFlags{}).proxies(args); got != nil {
		t.Errorf("without the flag there are %v", got)
	}
	got := (&runFlags{httpProxy: true}).proxies(args)
	if diff := cmp.Diff(map[string]string{"http_proxy": "lower", "NO_PROXY": "none"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestBuildArgumentsComeFromTheEnvironmentByName(t *testing.T) {
	t.Setenv("IN_ENV", "value")
	t.Setenv("EMPTY", "")
	got, err := (&argFlags{args: []string{"A=1=2", "IN_ENV", "EMPTY", "NOT_THERE", "B=", "A=3"}}).values()
	if err != nil {
		t.Fatal(err)
	}
	value := func(s string) *string { return &s }
	want := map[string]*string{"A": value("3"), "IN_ENV": value("value"), "EMPTY": value(""), "NOT_THERE": nil,
		"B": value("")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSecretsAreReadOnceFromFilesAndVariables(t *testing.T) {
	dir := contextDir(t, map[string]string{"a": "of a file\n", "large": strings.Repeat("x", build.MaxSecret+1),
		"most": strings.Repeat("x", build.MaxSecret)})
	t.Setenv("TOKEN", "of a variable")
	file := func(name string) string { return filepath.Join(dir, name) }
	open := func(texts ...string) (*secretFiles, error) {
		return (&runFlags{secrets: texts}).openSecrets(command.Env{})
	}
	s, err := open("id=a,src="+file("a"), "id=b,env=TOKEN", "id=c,src="+file("most"), "id=d,env=NOT_SET_ANYWHERE")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.notes) != 1 ||
		s.notes[0] != "--secret id=d: the variable NOT_SET_ANYWHERE is not set, so the secret is empty" {
		t.Errorf("it notes %q", s.notes)
	}
	// What is opened is what is read, whatever becomes of the name.
	if err := os.Rename(file("most"), file("a")); err != nil {
		t.Fatal(err)
	}
	secrets, err := s.read()
	if err != nil || string(secrets["a"]) != "of a file\n" || string(secrets["b"]) != "of a variable" ||
		len(secrets["c"]) != build.MaxSecret || len(secrets["d"]) != 0 || len(secrets) != 4 {
		t.Errorf("%d of them, %v", len(secrets), err)
	}
	for _, f := range s.files {
		if _, err := f.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s is still open: %v", f.Name(), err)
		}
	}
	for text, want := range map[string]string{
		"id=x,src=" + file("large"): "is larger than 500 KiB", "id=x,src=" + dir: "is a directory",
		"id=x,src=" + file("none"): "no such file",
	} {
		if _, err := open(text); err == nil || !strings.Contains(err.Error(), want) ||
			!strings.HasPrefix(err.Error(), "--secret id=x: ") || !errors.As(err, new(command.UsageError)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestASecretThatGrowsIsRefused(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(write, io.LimitReader(zeros{}, build.MaxSecret+1))
		_ = write.Close()
	}()
	s, err := (&runFlags{secrets: []string{"id=x,src=/proc/self/fd/" + strconv.Itoa(int(read.Fd()))}}).openSecrets(
		command.Env{})
	if err != nil {
		t.Fatal(err)
	}
	_ = read.Close()
	if _, err := s.read(); err == nil || !strings.Contains(err.Error(), "--secret id=x: larger than 500 KiB") {
		t.Errorf("got %v", err)
	}
	t.Setenv("LONG", strings.Repeat("x", 1000))
	s, err = (&runFlags{secrets: []string{"id=y,env=LONG"}}).openSecrets(command.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if secrets, err := s.read(); err != nil || len(secrets["y"]) != 1000 {
		t.Errorf("%d bytes, %v", len(secrets["y"]), err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestSecretsAreInheritedByDescriptor(t *testing.T) {
	dir := contextDir(t, map[string]string{"a": "first", "b": "second"})
	texts := []string{"id=a,src=" + filepath.Join(dir, "a"), "id=e,env=HOME", "id=b,src=" + filepath.Join(dir, "b")}
	outer, err := (&runFlags{secrets: texts}).openSecrets(command.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if env := outer.handOver(command.Env{Inside: true}); env != nil {
		t.Errorf("a process that stays hands over %q", env)
	}
	if env := (&secretFiles{}).handOver(command.Env{}); env != nil {
		t.Errorf("without files it hands over %q", env)
	}
	var numbers []string
	for _, f := range outer.files {
		fd, err := unix.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, strconv.Itoa(fd))
	}
	if err := os.RemoveAll(dir); err != nil { // inside, nothing can be opened by its name
		t.Fatal(err)
	}
	t.Setenv(envSecretFiles, strings.Join(numbers, ","))
	inner, err := (&runFlags{secrets: texts}).openSecrets(command.Env{Inside: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := os.LookupEnv(envSecretFiles); ok {
		t.Error("the variable is left to what is started")
	}
	for _, f := range inner.files {
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s is left to what is started: %v", f.Name(), err)
		}
	}
	if secrets, err := inner.read(); err != nil || string(secrets["a"]) != "first" || string(secrets["b"]) != "second" {
		t.Errorf("%q, %q, %v", string(secrets["a"]), string(secrets["b"]), err)
	}
	t.Setenv(envSecretFiles, "x")
	if _, err := (&runFlags{secrets: texts}).openSecrets(command.Env{Inside: true}); err == nil ||
		!strings.Contains(err.Error(), envSecretFiles+"=x") {
		t.Errorf("a number that is none: %v", err)
	}
	t.Setenv(envSecretFiles, "0,0") // outside, somebody's variable counts for nothing
	if _, err := (&runFlags{secrets: texts}).openSecrets(command.Env{}); err == nil ||
		!strings.Contains(err.Error(), "no such file") {
		t.Errorf("outside: %v", err)
	}
}

func TestThePolicyOfPruneIsThatOfItsFlags(t *testing.T) {
	now := time.Unix(1e9, 0)
	for name, tt := range map[string]struct {
		o    pruneOptions
		want disk.Policy
	}{
		"nothing":        {pruneOptions{}, disk.Policy{}},
		"all":            {pruneOptions{all: true}, disk.Policy{Shared: true}},
		"a limit":        {pruneOptions{maxUsedSpace: "10GB"}, disk.Policy{Limit: 10e9}},
		"its older name": {pruneOptions{keepStorage: "1GiB"}, disk.Policy{Limit: 1 << 30}},
		"unused":         {pruneOptions{filters: []string{"until=24h"}}, disk.Policy{Unused: now.Add(-24 * time.Hour)}},
		"the longer of two": {pruneOptions{filters: []string{"until=24h", "until=48h", "until=1h"}},
			disk.Policy{Unused: now.Add(-48 * time.Hour)}},
		"kinds": {pruneOptions{types: []string{"mounts", "sources"}},
			disk.Policy{Kinds: []disk.Kind{disk.Mounts, disk.Sources}}},
	} {
		got, err := tt.o.policy(now)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", name, err, diff)
		}
	}
}

func TestSignalsAreWaitedForUntilTheEndOnly(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 10 {
		ctx, stop := signalContext()
		stop()
		if ctx.Err() == nil {
			t.Error("the context goes on")
		}
	}
	end := time.Now().Add(10 * time.Minute)
	for runtime.NumGoroutine() > before+5 {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, before there were %d", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}

func TestEachFlagThatHasItsMeaningIsThere(t *testing.T) {
	t.Parallel()
	build, _, err := Tree().Find([]string{"build"})
	if err != nil {
		t.Fatal(err)
	}
	build.InitDefaultHelpFlag()
	for _, row := range dialect.Flags() {
		f := build.Flags().Lookup(row.Name)
		switch _, foreign := f.Value.(interface{ Foreign() }); {
		case row.Kind == dialect.Own && foreign, row.Kind != dialect.Own && !foreign:
			t.Errorf("--%s is of kind %d in the table, and the flag is not", row.Name, row.Kind)
		case row.Kind == dialect.Own && row.Switch != (f.Value.Type() == "bool"):
			t.Errorf("--%s: the table and the flag differ on whether it needs a value", row.Name)
		case row.Short != "" && build.Flags().ShorthandLookup(row.Short) == nil:
			t.Errorf("-%s is not there", row.Short)
		}
	}
}

func TestWithoutAContextItIsTheDirectoryOfTheDockerfile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		files, args []string
		want        string
	}{
		{nil, nil, "."}, {nil, []string{"x"}, "x"}, {[]string{"d/F"}, nil, "d"}, {[]string{"F"}, nil, "."},
		{[]string{"-"}, nil, "."}, {[]string{"https://h/F", "/d/F", "e/F"}, nil, "/d"}, {[]string{"d/F"}, []string{"x"}, "x"},
	} {
		o := buildOptions{files: tt.files}
		if got := o.contextOf(tt.args); got != tt.want {
			t.Errorf("%q, %q: %s, want %s", tt.files, tt.args, got, tt.want)
		}
	}
	if err := checkContextArg(dialect.Docker, nil); err == nil {
		t.Error("docker's users need no context")
	}
}

func TestADialectHasItsOwnDefaults(t *testing.T) {
	t.Parallel()
	spoken := func(d dialect.Dialect, flags ...string) *buildOptions {
		o := &buildOptions{speaks: d}
		cmd := &cobra.Command{}
		o.register(cmd)
		if err := cmd.ParseFlags(flags); err != nil {
			t.Fatal(err)
		}
		o.speak(cmd.Flags())
		return o
	}
	own, podman, buildah := spoken(dialect.Cooper), spoken(dialect.Podman), spoken(dialect.Buildah)
	if own.run.httpProxy || own.image.identity || own.image.finished.dated || !podman.run.httpProxy ||
		!podman.image.identity || !podman.image.finished.dated {
		t.Errorf("%+v\n%+v", own, podman)
	}
	if o := spoken(dialect.Buildah, "--http-proxy=false", "--identity-label=false"); o.run.httpProxy || o.image.identity {
		t.Errorf("%+v", o)
	}
	for name, tt := range map[string]struct {
		o    *buildOptions
		want build.Squash
	}{"cooper": {own, build.SquashNone}, "podman": {podman, build.SquashNone}, "buildah": {buildah, build.SquashNew},
		"podman --squash":  {spoken(dialect.Podman, "--squash"), build.SquashNew},
		"buildah --squash": {spoken(dialect.Buildah, "--squash"), build.SquashAll},
		"buildah --layers": {spoken(dialect.Buildah, "--layers"), build.SquashNone}} {
		if got, err := tt.o.image.finished.squashed(); got != tt.want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if o := spoken(dialect.Docker, "-fa", "-fb"); len(o.files) != 1 || o.files[0] != "b" || len(o.notes) != 1 {
		t.Errorf("%q, %q", o.files, o.notes)
	}
	if o := spoken(dialect.Buildah, "-f", "a,b", "-fc"); len(o.files) != 3 {
		t.Errorf("%q", o.files)
	}
	for _, flags := range []string{"--pull=false", "--pull-never", "--pull=never"} {
		if o := spoken(dialect.Buildah, flags); o.choosePull() != nil || o.pull != "never" {
			t.Errorf("%s: %s", flags, o.pull)
		}
	}
	if o := spoken(dialect.Cooper, "--net=host", "--userns-uid-map-user=x"); o.run.network != "host" ||
		o.userns.subUIDName != "x" {
		t.Errorf("%+v", o)
	}
}
