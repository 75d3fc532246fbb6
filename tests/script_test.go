package tests_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// siteKey is where a script's Env keeps its site.
type siteKey struct{}

// exitKey is where a script's Env keeps the last command's exit status.
type exitKey struct{}

// scriptsOnDisk are about what a disk is to a build: layers that are made, found again, linked, copied, shared with
// other tools, measured and removed.
func scriptsOnDisk() []string {
	return []string{"basics", "cache", "copy", "copylink", "disk", "files", "mounts", "stages", "userns"}
}

// scriptsOfRoot and scriptsOfTheUser are about what Dockerfiles and flags say, what is fetched and what is answered,
// which whoever builds has no part in: files, owners, mounts and steps have other scripts, which both users run. Where
// both are there each of these has one of them.
func scriptsOfRoot() []string {
	return []string{"addurl", "bake", "buildx", "config", "contextignore", "contextstdin", "dates", "dialects",
		"environment", "exit", "kaniko", "language", "outputflags", "why"}
}

func scriptsOfTheUser() []string {
	return []string{"cachelarge", "contextgit", "contextlayout", "contextnamed", "multiplatform", "runssh", "scripts",
		"workingbuildah"}
}

// scriptsFor leaves out of the paths those of the other user.
func scriptsFor(m mode, paths []string) []string {
	others := scriptsOfRoot()
	switch {
	case len(suite.modes) == 1:
		return paths
	case m.root():
		others = scriptsOfTheUser()
	}
	return slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		return slices.Contains(others, scriptName(path))
	})
}

func scriptName(path string) string { return strings.TrimSuffix(filepath.Base(path), ".txtar") }

// TestScripts runs every script, as every user where it is about what users differ in.
func TestScripts(t *testing.T) {
	all, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var disk, memory []string
	for _, path := range all {
		if slices.Contains(scriptsOnDisk(), scriptName(path)) {
			disk = append(disk, path)
		} else {
			memory = append(memory, path)
		}
	}
	if len(disk) != len(scriptsOnDisk()) {
		t.Errorf("the scripts on disk are %q, of %q", disk, scriptsOnDisk())
	}
	for _, name := range slices.Concat(scriptsOfRoot(), scriptsOfTheUser()) {
		if !slices.ContainsFunc(memory, func(path string) bool { return scriptName(path) == name }) {
			t.Errorf("there is no script %s in memory", name)
		}
	}
	eachMode(t, func(t *testing.T, m mode) {
		runScripts(t, m, suite.dir, scriptsFor(m, memory))
		runScripts(t, m, suite.disk, disk)
	})
}

// runScripts runs scripts at the same time, in directories below parent.
func runScripts(t *testing.T, m mode, parent string, files []string) {
	t.Helper()
	dir := filepath.Join(parent, m.Name[:1]) // short, see configure
	if err := os.MkdirAll(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Files: files, WorkdirRoot: dir, Setup: func(env *testscript.Env) error { return setupScript(env, m) },
		Cmds: commands(), Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return m.root(), nil
			case "user":
				return !m.root(), nil
			}
			return false, fmt.Errorf("unknown condition %s", cond)
		},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

func setupScript(env *testscript.Env, m mode) error {
	s, err := openSite(m, env.WorkDir)
	if err != nil {
		return err
	}
	env.Vars = append(env.Vars, s.env...)
	env.Vars = append(env.Vars, "STORE="+s.store(), "COOPER="+suite.cooper)
	env.Values[siteKey{}] = s
	env.Values[exitKey{}] = new(int)
	env.Values[serverKey{}] = new(atomic.Pointer[server])
	env.Defer(func() {
		if err := s.remove(); err != nil {
			env.T().Log(err)
			env.T().FailNow()
		}
	})
	return nil
}

type command = func(ts *testscript.TestScript, neg bool, args []string)

// commands are what scripts can do besides testscript's own commands:
//
//	cooper ARGS...        run cooper as the mode's user; `!` wants it to fail
//	status N              the exit status of the last cooper or asuser
//	asuser PROGRAM...     run another program as the mode's user
//	busybox NAME          make a base image with a shell, through cooper
//	layerfiles OCI        print the entries of the layers: layer type mode uid:gid size name
//	config OCI            print the image config, sorted and without times
//	noleftovers [TEXT...] no mount, process or directory of a build is left; TEXTs are in command lines of steps
//	sameid FILE FILE      two image ID files name the same image; `!` wants them to differ
//	foreign ARCH FILE     make a program for another architecture: testdata/foreign
//	cached FILE N M       the metadata file says N of M steps were cached
//	serve DIR             give out files and git repositories over http; sets URL and HOSTPORT
//	requests N            so many requests have come since the last time; `!` wants another number
func commands() map[string]command {
	return map[string]command{
		"cooper": func(ts *testscript.TestScript, neg bool, args []string) {
			scriptRun(ts, neg, append([]string{suite.cooper}, args...))
		},
		"asuser": scriptRun, "status": scriptStatus, "busybox": scriptBusybox, "layerfiles": scriptLayerFiles,
		"config":      scriptConfig,
		"noleftovers": scriptNoLeftovers, "sameid": scriptSameID, "cached": scriptCached,
		"foreign": scriptForeign, "serve": scriptServe, "requests": scriptRequests,
	}
}

func scriptSite(ts *testscript.TestScript) *site {
	s, ok := ts.Value(siteKey{}).(*site)
	if !ok {
		ts.Fatalf("the script has no site")
	}
	return s
}

func scriptExit(ts *testscript.TestScript) *int {
	code, ok := ts.Value(exitKey{}).(*int)
	if !ok {
		ts.Fatalf("the script has no exit status")
	}
	return code
}

// scriptRun runs a program as the mode's user.
func scriptRun(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: asuser program [args...]")
	}
	if m := scriptSite(ts).mode; os.Getuid() == 0 && !m.root() {
		args = append([]string{"setpriv", "--reuid=" + m.User, "--regid=" + strconv.Itoa(m.GID), "--clear-groups", "--"},
			args...)
	}
	started := time.Now()
	err := ts.Exec(args[0], args[1:]...)
	if took := time.Since(started); took > 5*time.Second {
		ts.Logf("it took %s", took)
	}
	code := scriptExit(ts)
	*code = 0
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		*code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if failed := *code != 0; failed != neg {
		ts.Fatalf("status %d", *code)
	}
}

func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: status N")
	}
	if got := strconv.Itoa(*scriptExit(ts)); got != args[0] {
		ts.Fatalf("exit status %s, not %s", got, args[0])
	}
}

func scriptBusybox(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: busybox NAME")
	}
	s := scriptSite(ts)
	ts.Check(s.makeBusybox())
	scriptRun(ts, false, []string{suite.cooper, "build", "-q", "-t", args[0], "-f", s.path("busybox/Base"),
		s.path("busybox")})
}

func scriptPrint(ts *testscript.TestScript, args []string, what func(*layout) (string, error)) {
	if len(args) != 1 {
		ts.Fatalf("usage: layerfiles|config OCI")
	}
	l, err := openLayout(ts.MkAbs(args[0]))
	ts.Check(err)
	text, err := what(l)
	ts.Check(err)
	_, err = io.WriteString(ts.Stdout(), text)
	ts.Check(err)
}

func scriptLayerFiles(ts *testscript.TestScript, _ bool, args []string) {
	scriptPrint(ts, args, (*layout).listing)
}

func scriptConfig(ts *testscript.TestScript, _ bool, args []string) {
	scriptPrint(ts, args, (*layout).configText)
}

func scriptNoLeftovers(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("noleftovers can't be negated")
	}
	ts.Check(scriptSite(ts).noLeftovers(args...))
}

func scriptSameID(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: sameid FILE FILE")
	}
	id := regexp.MustCompile(`sha256:[0-9a-f]{64}`)
	a, b := id.FindString(ts.ReadFile(args[0])), id.FindString(ts.ReadFile(args[1]))
	if a == "" || b == "" {
		ts.Fatalf("no image ID in %s", strings.Join(args, " or "))
	}
	if (a == b) == neg {
		ts.Fatalf("image IDs: %s and %s", a, b)
	}
}

func scriptCached(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: cached METADATA CACHED STEPS")
	}
	var meta struct {
		Steps  int `json:"cooper.steps"`
		Cached int `json:"cooper.cached"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &meta))
	if got := fmt.Sprint(meta.Cached, meta.Steps); got != args[1]+" "+args[2] {
		ts.Fatalf("cached and all steps: %s, not %s %s", got, args[1], args[2])
	}
}
