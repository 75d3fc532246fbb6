package tests_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/userns/asroot"
)

// suiteEnv has what the suite's process has set up, for the one that runs the tests.
const suiteEnv = "COOPER_E2E_SUITE"

// shared is suite as it is handed on.
type shared struct {
	Cooper, Self, Dir, Disk string
	Modes                   []mode
}

// startTests runs the tests in another process. A signal ends them.
func startTests(signals <-chan os.Signal) (code int, err error) {
	text, err := json.Marshal(shared{suite.cooper, suite.self, suite.dir, suite.disk, suite.modes})
	if err != nil {
		return 1, err
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), suiteEnv+"="+string(text))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case got := <-signals:
		fmt.Fprintf(os.Stderr, "tests: %s: what they have made is removed\n", got)
		err = errors.Join(cmd.Process.Kill(), <-ended)
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code, nil
	}
	return 1, err
}

// runTests runs the tests with what the suite's process has set up.
func runTests(m *testing.M, given string) (code int, err error) {
	var from shared
	if err := errors.Join(json.Unmarshal([]byte(given), &from), os.Unsetenv(suiteEnv)); err != nil {
		return 1, err
	}
	suite.cooper, suite.self, suite.dir, suite.disk, suite.modes = from.Cooper, from.Self, from.Dir, from.Disk, from.Modes
	if os.Getuid() != 0 {
		if err := asroot.LeaveOut(); err != nil {
			return 1, err
		}
	}
	if err := runManyAtOnce(); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// endSites ends the processes of all sites and unmounts what is below them: tests that were ended could not.
func endSites() error {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		left := processesThat(ofTheSuite)
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			return errors.Join(left.errors()...)
		}
		for pid := range left {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
	}
	var errs []error
	for _, dir := range slices.Compact([]string{suite.dir, suite.disk}) {
		errs = append(errs, (&site{dir: dir}).unmount())
	}
	return errors.Join(errs...)
}

// ofTheSuite reports whether a process was started in a site of this suite.
func ofTheSuite(pid int) bool {
	env, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "environ"))
	return err == nil && slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool {
		dir, ok := strings.CutPrefix(string(v), siteMark+"=")
		return ok && (strings.HasPrefix(dir, suite.dir+"/") || strings.HasPrefix(dir, suite.disk+"/"))
	})
}
