package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/userns/asroot"
	"github.com/cooperbuild/cooper/userns/reexec"
)

func TestMain(m *testing.M) {
	if inside, err := reexec.Child(); inside || err != nil {
		// It would run all tests again, with the command line of the tests.
		fmt.Fprintln(os.Stderr, "a test that others than root run has entered a namespace", err)
		os.Exit(1)
	}
	if build.HandleReexec() { // this program is started again to unpack archives
		return
	}
	if !asroot.Real() {
		if err := asroot.LeaveOut(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	code, err := runWithoutStore(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// runWithoutStore runs the tests with a configuration of their own: a mistake of a test builds in no store of the
// user's. All have the same one, for the process reads it once, and it goes with what was made where it says.
func runWithoutStore(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "cli")
	if err != nil {
		return 1, err
	}
	root := filepath.Join(dir, "root")
	defer func() {
		_ = unix.Unmount(filepath.Join(root, "overlay"), unix.MNT_DETACH) // it is mounted if a test has opened the store
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	conf := filepath.Join(dir, "storage.conf")
	text := fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n", root, filepath.Join(dir, "run"))
	err = errors.Join(os.WriteFile(conf, []byte(text), 0o600), os.Setenv("CONTAINERS_STORAGE_CONF", conf))
	if err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// result is what is seen of a run of the program.
type result struct {
	code        int
	out, errors string
}

// run runs the program, with the file stdin, and without another process.
func run(t *testing.T, stdin *os.File, args ...string) result {
	t.Helper()
	var files [2]*os.File
	for n := range files {
		f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		files[n] = f
	}
	r := result{code: Main(command.Env{Args: append([]string{}, args...), Stdin: stdin, Stdout: files[0], Stderr: files[1],
		Version: "1.2"})}
	for n, to := range []*string{&r.out, &r.errors} {
		text, err := os.ReadFile(files[n].Name())
		if err != nil {
			t.Fatal(err)
		}
		*to = string(text)
	}
	return r
}

// null is standard input that ends at once and is no terminal.
func null(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// contextDir is a context with these files.
func contextDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// withoutVariables keeps the machine's own settings out of a test.
func withoutVariables(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if regexp.MustCompile("^(BUILD|CONTAINER|COOPER|DOCKER|PODMAN|SOURCE_DATE|SSH_AUTH|EXPERIMENTAL)").MatchString(
			name) &&
			name != "CONTAINERS_STORAGE_CONF" {
			t.Setenv(name, "")
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Chdir(t.TempDir())
}

func TestWrongCommandLinesEndWithTheirStatusAndSayWhatWouldHelp(t *testing.T) {
	withoutVariables(t)
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\n", "secret": "x"})
	for line, want := range map[string]string{
		"build a b":                       "build takes one argument, the context, got 2",
		"build ''":                        "the context is an empty word\nhint: . is the current directory",
		"build --jobs -1 DIR":             "--jobs=-1: must not be negative",
		"build --pull=sometimes DIR":      "--pull=sometimes: must be always, missing, newer or never",
		"build -t UPPER DIR":              "UPPER",
		"build -t '' DIR":                 `image name ""`,
		"build -f - -":                    "standard input can't be the context and the Dockerfile at once\nhint: with -f -",
		"build --progress=loud DIR":       "loud",
		"build --format=rpm DIR":          "--format: ",
		"build --max-used-space=lots DIR": "--max-used-space: ",
		"build --build-arg =x DIR":        `--build-arg "=x": must be NAME=VALUE or NAME`,
		"build --label =x DIR":            `--label "=x": must be KEY=VALUE`,
		"build --build-context x DIR":     "--build-context ",
		"build --platform=a/b/c/d DIR":    "--platform: ",
		"build --output type=zip DIR":     "zip",
		"build --platform=linux/amd64,linux/arm64 -o type=docker,dest=x DIR": "type=oci",
		"build --storage-driver=zfs DIR":                                     `invalid argument "zfs" for "--storage-driver" flag: must be overlay or vfs`,
		"build --call=run DIR":                                               "--call=run: must be build, check, outline or targets",
		"build --check --call=targets DIR":                                   "--check and --call=targets exclude each other",
		"build --network=mynet DIR":                                          "--network=mynet: must be default, private, none, host or ns:PATH",
		"build --network=slirp4netns:mtu=1 DIR":                              "cooper starts no slirp4netns: private gives steps a network",
		"build --network=container:a DIR":                                    "ns:/proc/PID/ns/net is the network of a process",
		"build --network=none --host-loopback=80 DIR":                        "--host-loopback is for steps in a private network",
		"build --network=private --host-loopback=0 DIR":                      "--host-loopback=0: must be a port",
		"build --cgroup-parent=../x DIR":                                     "--cgroup-parent=../x: must not have .. in it",
		"build --memory=lots DIR":                                            "--memory=lots: must be a size, such as 64m",
		"build --memory-swap=1g DIR":                                         "--memory-swap=1g: is memory and swap together, and needs --memory",
		"build --memory=1g --memory-swap=1m DIR":                             "--memory-swap=1m: is memory and swap together, and must not be less",
		"build --cpus=1 --cpu-quota=5000 DIR":                                "--cpus=1 and --cpu-quota=5000 say the same: give one of them",
		"build --cpus=none DIR":                                              "--cpus=none: must be a number of processors",
		"build --cpuset-cpus=a DIR":                                          "--cpuset-cpus: list \"a\": must be numbers and ranges",
		"build --pids-limit=x DIR":                                           "--pids-limit=x: must be a whole number",
		"build --device-read-bps=/dev/null:1m DIR":                           "--device-read-bps /dev/null:1m: /dev/null is no block device",
		"build --resource=disk=1 DIR":                                        "--resource disk=1: must be memory, memory-swap",
		"build --step-timeout=-1s DIR":                                       "--step-timeout=-1s: must not be negative",
		"build --log-limit=fast DIR":                                         "--log-limit=fast: must be a size",
		"build --device=fuse DIR":                                            "--device: device \"fuse\": must be a path in /dev, or VENDOR/CLASS=NAME",
		"build --add-host name DIR":                                          `--add-host "name": must be NAME:ADDRESS`,
		"build --add-host :1.2.3.4 DIR":                                      `--add-host ":1.2.3.4": must be NAME:ADDRESS`,
		"build --dns=none --dns=1.1.1.1 DIR":                                 "--dns=none: can't be used with other --dns flags",
		"build --dns=name DIR":                                               "name",
		"build --allow=all DIR":                                              "--allow=all: must be security.insecure, network.host, device[=NAME] or fs.read=DIR",
		"build --allow=fs.read= DIR":                                         "--allow=fs.read=: must be",
		"build --security-opt seccomp=x.json DIR":                            "--security-opt seccomp=x.json: open x.json: no such file",
		"build --security-opt seccomp=/dev/zero DIR":                         "--security-opt seccomp=/dev/zero: it is no regular file",
		"build --security-opt apparmor=x DIR":                                "--security-opt apparmor=x: this machine's kernel has no AppArmor",
		"build --security-opt label=filetype:x DIR":                          "--security-opt label=filetype:x: is not supported",
		"build --security-opt proc-opts=x DIR":                               "--security-opt proc-opts=x: is not supported: use seccomp=FILE",
		"build --shm-size=much DIR":                                          "--shm-size=much: must be a size, such as 64m",
		"build -v name:/x DIR":                                               "there are no named volumes",
		"build --ulimit wings=2 DIR":                                         "wings",
		"build --cap-add FLY DIR":                                            "FLY",
		"build --ssh =x DIR":                                                 `--ssh "=x": must be default or ID`,
		"build --ssh default DIR":                                            "--ssh default: there is no agent: SSH_AUTH_SOCK is not set\nhint: eval $(ssh-agent)",
		"build --ssh a=k --ssh a=l DIR":                                      "--ssh a: given twice",
		"build --ssh a=raw=x DIR":                                            `"raw=x" is not supported: give a socket or key files`,
		"build --ssh a=k, DIR":                                               `"" is not supported`,
		"build --secret id=a,src=none DIR":                                   "--secret id=a: open none: no such file or directory",
		"build --secret id=a,src=DIR DIR":                                    "is a directory",
		"build --secret src=x DIR":                                           `--secret "src=x": has no id=ID`,
		"build --secret id=a,mode=0400 DIR":                                  "there is no mode=: the keys are id, src, env, cmd and type",
		"build --secret id=a,type=x DIR":                                     "type=x: must be file or env",
		"build --secret id=a,src=b,env=c DIR":                                "is either a file or a variable",
		"build --isolation=vm DIR":                                           "--isolation=vm: must be native or oci",
		"build --isolation=native --runtime=crun DIR":                        "--isolation=native can't be used with --runtime",
		"build --runtime=podman DIR":                                         "--runtime=podman: must be ",
		"build --runtime= DIR":                                               `invalid argument "" for "--runtime" flag: must not be empty`,
		"build --keep-bundle=DIR DIR":                                        "is not empty: give a new directory",
		"build --no-cache=perhaps DIR":                                       `invalid argument "perhaps" for "--no-cache" flag`,
		"build --tag":                                                        "flag needs an argument: --tag\nhint: cooper build --help lists the flags",
		"check a b":                                                          "check takes one argument, the context directory, got 2",
		"check --format=xml DIR":                                             "--format=xml: must be text or json",
		"df x":                                                               `cooper df takes no arguments, got "x"`,
		"df --format=xml":                                                    "--format=xml: must be table or json",
		"doctor x":                                                           `cooper doctor takes no arguments, got "x"`,
		"prune x":                                                            `cooper prune takes no arguments, got "x"`,
		"prune":                                                              "standard input is no terminal to ask on\nhint: --force removes without asking",
		"prune --type=images":                                                `--type "images": must be layers, shifted, mounts, sources or records`,
		"prune --filter=label=x":                                             `--filter "label=x": must be until=DURATION`,
		"prune --filter=until=-1h":                                           `--filter "until=-1h": must be a duration that isn't negative`,
		"prune --filter=until=soon":                                          `--filter "until=soon": must be a duration`,
		"prune --keep-storage=1 --max-used-space=2":                          "two names for the same thing",
		"prune --keep-storage=x":                                             "--keep-storage: size \"x\"",
		"top --watch=1ms":                                                    "--watch=1ms: must be a time of at least 100ms, such as 2s",
		"top --watch 2s": `"2s" is neither a build nor a descriptor` +
			"\nhint: a time goes with an equals sign: --watch=2s",
		"top -w2s":                 "-w2s: a time goes with an equals sign\nhint: -w=2s or --watch=2s",
		"unshare --map ls":         "--map runs no command, got ls",
		"unshare ''":               "the command is an empty word",
		"version x":                `cooper version takes no arguments, got "x"`,
		"completion tcsh":          `unknown command "tcsh" of completion`,
		"completion bash x":        `takes no arguments, got "x"`,
		"help build more":          `unknown command "build more"`,
		"userns show --format=xml": "--format=xml: must be text or json",
	} {
		var args []string
		for _, word := range strings.Fields(line) {
			args = append(args, strings.ReplaceAll(strings.Trim(word, "'"), "DIR", dir))
		}
		got := run(t, null(t), args...)
		if got.code != command.ExitUsage || !strings.HasPrefix(got.errors, "cooper: ") ||
			!strings.Contains(got.errors, want) ||
			got.out != "" {
			t.Errorf("cooper %s: status %d, %q, %q\nwant %q", line, got.code, got.out, got.errors, want)
		}
	}
}

func TestAsRootWhatIsWrongInsideOfTheNamespaceIsAWrongCommandLineToo(t *testing.T) {
	withoutVariables(t)
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\n"})
	for want, args := range map[string][]string{
		"other":                       {"build", "--userns=other", dir},
		"--userns=ns: ":               {"build", "--userns=ns:" + dir, dir},
		"the map has no container ID": {"build", "--uidmap", "1:0:1", dir},
		"unshare is for ordinary":     {"unshare", "true"},
	} {
		if got := run(t, null(t), args...); got.code != command.ExitUsage || !strings.Contains(got.errors, want) {
			t.Errorf("%q: status %d, %q", args, got.code, got.errors)
		}
	}
}

func TestWhatIsAskedForIsOnStandardOutput(t *testing.T) {
	withoutVariables(t)
	for line, want := range map[string]string{
		"":                 "Build OCI images from a Dockerfile",
		"--help":           "Usage:\n  cooper [",
		"help build":       "Usage:\n  cooper build [flags] [CONTEXT | -]",
		"build --help":     "Usage:\n  cooper build [flags] [CONTEXT | -]",
		"version":          "cooper 1.2 linux/",
		"--version":        "cooper 1.2\n",
		"completion bash":  "# bash completion",
		"completion":       "Usage:\n  cooper completion",
		"userns":           "Usage:\n  cooper userns COMMAND",
		"help userns show": "cooper userns show [flags] [MODE...]",
	} {
		got := run(t, null(t), strings.Fields(line)...)
		if got.code != command.ExitOK || !strings.Contains(got.out, want) || got.errors != "" {
			t.Errorf("cooper %s: status %d, %q, %q", line, got.code, got.out[:min(len(got.out), 300)], got.errors)
		}
	}
}

func TestAStreamThatTakesNoMoreIsAFailure(t *testing.T) {
	withoutVariables(t)
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch AS a\nMAINTAINER x\n"})
	for _, args := range [][]string{
		{"version"}, {"help"}, {"completion", "zsh"}, {"check", dir}, {"check", "--format=json", dir},
		{"build", "--call=targets", dir}, {"build", "--call=outline,format=json", dir}, {"userns", "show", "host"},
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		errs, err := os.Create(filepath.Join(t.TempDir(), "errors"))
		if err != nil {
			t.Fatal(err)
		}
		code := Main(command.Env{Args: args, Stdin: null(t), Stdout: full, Stderr: errs})
		text, err := os.ReadFile(errs.Name())
		if code != command.ExitFailed || !strings.Contains(string(text), "no space left on device") || err != nil {
			t.Errorf("cooper %s: status %d, %q, %v", strings.Join(args, " "), code, text, err)
		}
		_, _ = full.Close(), errs.Close()
	}
}
