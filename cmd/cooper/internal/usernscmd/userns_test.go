package usernscmd

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/stepflags"
	"github.com/cooperbuild/cooper/userns"
)

var update = flag.Bool("update", false, "write the outputs in docs/user-namespaces.md anew")

const usernsPage = "../../../../docs/user-namespaces.md"

// pageCaller is who the page is about: alice, UID and GID 1000, or root, with the same subordinate IDs.
func pageCaller(t *testing.T, root bool) callerLookup {
	t.Helper()
	dir := t.TempDir()
	finder := userns.Finder{SubUID: filepath.Join(dir, "subuid"), SubGID: filepath.Join(dir, "subgid"),
		NSSwitch: filepath.Join(dir, "nsswitch.conf")}
	for path, text := range map[string]string{
		finder.SubUID: "alice:100000:65536\nroot:1000000:65536\n",
		finder.SubGID: "alice:2000:1\nalice:100000:65536\nroot:1000000:65536\nci:500000:1000\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return func(ctx context.Context) (userns.Caller, userns.Finder, error) {
		if root {
			_, sub, err := finder.FindRoot(ctx)
			return userns.Caller{Root: true, Sub: sub}, finder, err
		}
		caller := userns.Caller{UID: 1000, GID: 1000}
		var err error
		caller.Outer, _, err = finder.UserMap(ctx, userns.User{Name: "alice", ID: 1000}, 1000)
		return caller, finder, err
	}
}

// runUserns runs cooper userns for a caller.
func runUserns(lookup callerLookup, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := newUsernsCmd(lookup)
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(context.Background())
	return out.String(), err
}

// withoutUsernsVariables keeps the machine's own settings out of a test.
func withoutUsernsVariables(t *testing.T) {
	t.Helper()
	for _, name := range []string{stepflags.EnvUserns, stepflags.EnvPodmanUserns} {
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestThePageShowsWhatTheProgramPrints runs each command of the page's console blocks, "$ " as alice and "# " as root.
func TestThePageShowsWhatTheProgramPrints(t *testing.T) {
	withoutUsernsVariables(t)
	text, err := os.ReadFile(usernsPage)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "```console\n", "```\n"
	var page strings.Builder
	blocks := 0
	for rest := string(text); ; blocks++ {
		before, after, ok := strings.Cut(rest, begin)
		page.WriteString(before)
		if !ok {
			break
		}
		block, after, ok := strings.Cut(after, end)
		if !ok {
			t.Fatal("a console block has no end")
		}
		page.WriteString(begin + rerun(t, block) + end)
		rest = after
	}
	if blocks < 5 {
		t.Errorf("the page has %d console blocks", blocks)
	}
	if page.String() == string(text) {
		return
	}
	if *update {
		if err := os.WriteFile(usernsPage, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is out of date: go test ./cmd/cooper/internal/usernscmd -run TestThePage -update\nit should be\n%s",
		usernsPage,
		page.String())
}

// rerun gives a block with the outputs that its commands have now.
func rerun(t *testing.T, block string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(block) {
		prompt, command, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " cooper userns ")
		if !ok || prompt != "$" && prompt != "#" {
			continue
		}
		b.WriteString(line)
		out, err := runUserns(pageCaller(t, prompt == "#"), strings.Fields(command)...)
		b.WriteString(out)
		if err != nil {
			b.WriteString("cooper: " + err.Error() + "\n")
		}
	}
	return b.String()
}

func TestTheEnvironmentGivesTheModeUnlessAFlagDoes(t *testing.T) {
	lookup := pageCaller(t, false)
	for _, test := range []struct {
		name           string
		cooper, podman string // "-" is unset
		args           []string
		want           string // how the output or the error begins
	}{
		{"nothing", "-", "-", []string{"show"}, "host: "},
		{"ours", "nomap", "-", []string{"show"}, "nomap: "},
		{"podman's", "-", "nomap", []string{"show"}, "nomap: "},
		{"ours before podman's", "keep-id", "nomap", []string{"show"}, "keep-id: "},
		{"ours, empty", "", "nomap", []string{"show"}, "host: "},
		{"a flag", "nomap", "-", []string{"show", "--userns=keep-id"}, "keep-id: "},
		{"a map", "nomap", "-", []string{"show", "--uidmap=0:0:1"}, "private: "},
		{"an empty flag", "nomap", "-", []string{"translate", "1000", "--userns=", "--from=host", "--to=container"}, "0\n"},
		{"a mistake of ours", "noexist", "-", []string{"show"}, "COOPER_USERNS=noexist: must be host,"},
		{"a mistake of podman's", "-", "noexist", []string{"translate", "1"}, "PODMAN_USERNS=noexist: must be host,"},
	} {
		withoutUsernsVariables(t)
		for name, value := range map[string]string{stepflags.EnvUserns: test.cooper, stepflags.EnvPodmanUserns: test.podman} {
			if value != "-" {
				t.Setenv(name, value)
			}
		}
		out, err := runUserns(lookup, test.args...)
		if err != nil {
			out = err.Error()
		}
		if !strings.HasPrefix(out, test.want) {
			t.Errorf("%s: %q", test.name, out)
		}
	}
}

func TestWrongUsernsCommandsAreRefused(t *testing.T) {
	withoutUsernsVariables(t)
	for command, want := range map[string]string{
		"shwo":                                   `unknown command "shwo" of userns`,
		"show nowhere":                           "--userns=nowhere: must be host,",
		"show --format=xml":                      "--format=xml: must be text or json",
		"show keep-id --uidmap 0:0:1":            "MODE and the flags exclude each other",
		"show --userns=host --gidmap=1":          "--gidmap=1: must be ",
		"show ns:/missing":                       "--userns=ns: read map of user namespace /missing: no such file",
		"show ns:/dev/null":                      "--userns=ns: read map of user namespace /dev/null: is no user namespace",
		"show auto:size=70000":                   "choose user IDs for --userns=auto: 70000 in a row are needed",
		"show --subuidname=root":                 "--subuidname: uid 1000000 is not in your own ranges",
		"show --subuidname=nosuch":               "nosuch has no line in ",
		"show --subgidname=ci":                   "ci has no line in ",
		"translate":                              "userns translate takes one argument, the ID, got 0",
		"translate x":                            `"x" is not an ID from 0 to 4294967294`,
		"translate 4294967295":                   `"4294967295" is not an ID`,
		"translate 1 --from=there":               "--from=there: must be host, intermediate or container",
		"translate 1 --from=":                    "--from=: must be host,",
		"translate 1 --to=there":                 "--to=there: must be host,",
		"translate 0 --from=host --to=container": "translate host uid 0: it has no container ID in this map",
		"translate 1000 --userns=nomap --from=host --to=container": "translate host uid 1000: it has no container ID",
	} {
		out, err := runUserns(pageCaller(t, false), strings.Fields(command)...)
		if err == nil || !strings.HasPrefix(err.Error(), want) || out != "" {
			t.Errorf("%s: %q, %v", command, out, err)
		}
	}
	_, err := runUserns(pageCaller(t, true), "show", "keep-id")
	if !errors.Is(err, userns.ErrBadRequest) {
		t.Errorf("keep-id as root: %v", err)
	}
}

func TestAModeThatIsNotPossibleDoesNotHideTheOthers(t *testing.T) {
	withoutUsernsVariables(t)
	few := func(context.Context) (userns.Caller, userns.Finder, error) {
		sub := []userns.SubIDRange{{Start: 100000, Count: 20}}
		outer, err := userns.Default(1000, 1000, userns.SubIDs{UIDs: sub, GIDs: sub})
		return userns.Caller{UID: 1000, GID: 1000, Outer: outer}, userns.Finder{}, err
	}
	for _, args := range [][]string{{"show"}, {"show", "--format=json"}} {
		out, err := runUserns(few, args...)
		if err != nil || !strings.Contains(out, "nomap") ||
			!strings.Contains(out, "1024 in a row are needed, and there are 20") {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	if _, err := runUserns(few, "show", "auto"); !errors.Is(err, userns.ErrTooFewSubIDs) {
		t.Errorf("error is %v", err)
	}
}

func TestTheMapOfAProcessIsShown(t *testing.T) {
	withoutUsernsVariables(t)
	out, err := runUserns(pageCaller(t, true), "show", "ns:/proc/1/ns/user")
	if err != nil || !strings.HasPrefix(out, "ns:/proc/1/ns/user: ") {
		t.Errorf("output is %q, %v", out, err)
	}
	// For root it is the namespace that this process is in.
	_, err = runUserns(pageCaller(t, false), "show", "ns:/proc/1/ns/user")
	if err == nil || !strings.Contains(err.Error(), "not yours") && !strings.Contains(err.Error(), "below this one") {
		t.Errorf("error is %v", err)
	}
}

func TestTheMapIsATable(t *testing.T) {
	t.Parallel()
	all, some := userns.Map{{Container: 0, Host: 1, Length: 10}}, userns.Map{{Container: 1, Host: 1, Length: 10}}
	var text bytes.Buffer
	if err := writeMapping(&text, userns.Mapping{UIDs: all, GIDs: some}); err != nil || text.String() !=
		"KIND  CONTAINER  HOST  LENGTH\nuid   0          1     10\ngid   1          1     10\n" {
		t.Errorf("%s, %v", text.String(), err)
	}
}
