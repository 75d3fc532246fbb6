// Package tests_test runs the real binary end to end, as root and as an ordinary user, on real stores. COOPER names
// the binary; without it one is built. `sh contrib/setup.sh --tests` installs the other programs it is held against.
package tests_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cooperbuild/cooper/internal/bakefile"
)

// buildTags are those of the Makefile.
const buildTags = "containers_image_openpgp,exclude_graphdriver_btrfs,exclude_graphdriver_zfs"

// suite is what all tests of one run share; TestMain sets it up before the first.
var suite struct {
	// cooper is the binary under test.
	cooper string
	// self is this program, where everybody may run it.
	self string
	// dir holds what the tests write, in memory if they are run by root; its owner is the ordinary user.
	dir string
	// disk is such a directory on the file system of TMPDIR, for what is about disks.
	disk string
	// modes are the users that the tests run as.
	modes []mode
}

// A mode is a user that cooper is run as.
type mode struct {
	Name, User string
	UID, GID   int
}

func (m mode) root() bool { return m.UID == 0 }

// takes tells whether the user runs the case with this number, of cases that are the same whoever runs them: where both
// do, they take turns.
func (m mode) takes(number int) bool { return len(suite.modes) == 1 || (number%2 == 0) == m.root() }

func TestMain(m *testing.M) {
	run := func() (int, error) { return runSuite(m) }
	if len(os.Args) > 3 && os.Args[1] == filterWord {
		run = func() (int, error) { return runBelowFilter(os.Args[2:]) }
	}
	if len(os.Args) > 1 && os.Args[1] == dialWord {
		run = func() (int, error) { dialAll(os.Args[2:]); return 0, nil }
	}
	code, err := run()
	if err != nil {
		fmt.Fprintf(os.Stderr, "tests: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

// runSuite sets up what all tests share and runs them in a process of their own, so that it is removed however they
// end.
func runSuite(m *testing.M) (code int, err error) {
	if given := os.Getenv(suiteEnv); given != "" {
		return runTests(m, given)
	}
	// Debian keeps setcap and others where root alone looks by default.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"); err != nil {
		return 1, err
	}
	if err := needPrograms(); err != nil {
		return 1, err
	}
	// From here on no signal ends this process before it has cleaned up.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	removeDirs, err := makeDirs()
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, removeDirs()) }()
	if err := findBinaries(); err != nil {
		return 1, err
	}
	remove, err := makeModes()
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, endSites(), remove()) }()
	return startTests(signals)
}

// runManyAtOnce has more tests run at the same time than there are processors, unless -parallel says how many: they
// wait for other programs' processes most of the time.
func runManyAtOnce() error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	const perProcessor = 4
	return flag.Set("test.parallel", strconv.Itoa(perProcessor*runtime.NumCPU()))
}

// needPrograms names every missing program at once: a test that can't run must not look like one that passed.
func needPrograms() error {
	programs := []string{
		"buildah", "busybox", "docker-registry", "fuse-overlayfs", "getcap", "getfacl", "git", "ldd", "mkfs.btrfs",
		"mkfs.ext4", "mkfs.xfs",
		"mmdebstrap", "mount", "newuidmap", "podman",
		"qemu-aarch64-static", "qemu-s390x-static", "runc", "setcap", "setfacl", "setpriv", "skopeo", "ssh-add", "ssh-agent",
		"ssh-keygen", "tar", "umoci",
		"unshare",
	}
	if os.Getuid() == 0 {
		programs = append(programs, "containerd", "ctr", "useradd", "userdel", "usermod")
	}
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("these programs are missing: %s\nhint: sh contrib/setup.sh --tests", strings.Join(missing, " "))
	}
	return nil
}

// findBinaries copies the binary under test and this one to where the ordinary user may run them.
func findBinaries() error {
	suite.cooper, suite.self = filepath.Join(suite.dir, "cooper"), filepath.Join(suite.dir, "self")
	if err := copyProgram("/proc/self/exe", suite.self); err != nil {
		return err
	}
	for _, program := range []string{suite.cooper, filepath.Join(suite.dir, bakefile.Program)} {
		if err := findBinary(os.Getenv("COOPER"), program); err != nil {
			return err
		}
	}
	return nil
}

// findBinary copies the program of this name beside the given cooper, or compiles it if none is given.
func findBinary(given, program string) error {
	name := filepath.Base(program)
	if given != "" {
		if err := copyProgram(filepath.Join(filepath.Dir(given), name), program); err != nil {
			return fmt.Errorf("COOPER: %w", err)
		}
		return nil
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags="+buildTags, "-o", program, "../cmd/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return nil
}

// makeModes finds the caller, and makes an ordinary user beside root. The function it returns removes that user.
func makeModes() (remove func() error, err error) {
	if uid := os.Getuid(); uid != 0 {
		u, err := user.Current()
		if err != nil {
			return nil, err
		}
		suite.modes = []mode{{Name: "user", User: u.Username, UID: uid, GID: os.Getgid()}}
		return func() error { return nil }, nil
	}
	// Debian makes it for root alone, other systems for everybody.
	if err := os.Chmod("/dev/fuse", 0o666); err != nil {
		return nil, fmt.Errorf("fuse-overlayfs can't be tested: %w", err)
	}
	name := fmt.Sprintf("cooper-e2e-%d", os.Getpid())
	if err := tool("useradd", "--no-create-home", "--home-dir", suite.dir, "--shell", "/bin/sh", name); err != nil {
		return nil, err
	}
	remove = func() error { return tool("userdel", name) }
	u, err := addRanges(name)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	suite.modes = []mode{{Name: "root", User: "root"}, u}
	return remove, errors.Join(os.Chown(suite.dir, u.UID, u.GID), os.Chown(suite.disk, u.UID, u.GID))
}

// addRanges gives the user subordinate IDs where useradd has not done so.
func addRanges(name string) (mode, error) {
	m := mode{Name: "user", User: name}
	u, err := user.Lookup(name)
	if err != nil {
		return m, err
	}
	if m.UID, err = strconv.Atoi(u.Uid); err != nil {
		return m, err
	}
	if m.GID, err = strconv.Atoi(u.Gid); err != nil {
		return m, err
	}
	text, err := os.ReadFile("/etc/subuid")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return m, err
	}
	if !strings.Contains("\n"+string(text), "\n"+name+":") {
		ids := "500000000-500065535"
		err = tool("usermod", "--add-subuids", ids, "--add-subgids", ids, name)
	} else {
		err = nil
	}
	return m, err
}

func tool(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// eachMode runs a test as every user there is, at the same time and beside all other tests.
func eachMode(t *testing.T, test func(t *testing.T, m mode)) {
	t.Helper()
	t.Parallel()
	for _, m := range suite.modes {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			test(t, m)
		})
	}
}

// ordinary is the ordinary user.
func ordinary(t *testing.T) mode {
	t.Helper()
	i := slices.IndexFunc(suite.modes, func(m mode) bool { return !m.root() })
	if i < 0 {
		t.Fatal("there is no ordinary user")
	}
	return suite.modes[i]
}
