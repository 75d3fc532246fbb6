package ids_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/emulator"
	"github.com/cooperbuild/cooper/executor/internal/ids"
	"github.com/cooperbuild/cooper/executor/joined"
	"github.com/cooperbuild/cooper/executor/step"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/asroot"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) { os.Exit(usertest.Main(usertest.Both(m.Run))) }

// thousand maps the container's first 1000 IDs to those from 2000 on.
func thousand() *userns.Mapping {
	m := userns.Map{{Container: 0, Host: 2000, Length: 1000}}
	return &userns.Mapping{UIDs: m, GIDs: m}
}

func namespace(t *testing.T, s step.Step) *ids.Namespace {
	t.Helper()
	n, err := ids.New(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Enter(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func TestAStepWithPowerOverMountsHasANamespaceOfItsOwn(t *testing.T) {
	all := step.Security{Insecure: true}
	if n := namespace(t, step.Step{}); n.Own() != nil || n.File() != nil {
		t.Error("a step without that power isn't in the caller's namespace")
	}
	if n := namespace(t, step.Step{Mapping: thousand(), Security: all}); n.Own().UIDs[0].Host != 2000 {
		t.Error("a step with a mapping got another one")
	}
	n := namespace(t, step.Step{Security: all})
	if asroot.Real() {
		if n.Own() != nil || n.File() != nil {
			t.Error("the machine's root got a namespace")
		}
		return
	}
	own, err := userns.CurrentMapping()
	if err != nil {
		t.Fatal(err)
	}
	if n.File() == nil || n.DiskMap() != nil || n.Root() != (ids.Pair{}) || n.Own().UIDs.Highest() != own.UIDs.Highest() {
		t.Errorf("the namespace has not the caller's IDs: %+v", n.Own())
	}
}

func TestNamespaceHasTheStepsMap(t *testing.T) {
	n := namespace(t, step.Step{Mapping: thousand()})
	if n.Root() != (ids.Pair{UID: 2000, GID: 2000}) {
		t.Errorf("root is %v", n.Root())
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(n.File().Fd()), &st); err != nil || st.Type != unix.NSFS_MAGIC {
		t.Errorf("the file is no namespace: %v", err)
	}
	if got := n.Permitted(); got != step.AllCaps>>(63-ids.LastCap()) {
		t.Errorf("root of a new namespace may have %x", got)
	}
}

func TestAJoinedNamespaceStaysOpen(t *testing.T) {
	other := namespace(t, step.Step{Mapping: thousand()})
	u := &joined.UserNS{Mapping: *thousand(), File: other.File(), NoGroups: true}
	n, err := ids.New(step.Step{Mapping: &u.Mapping, UserNS: u})
	if err == nil {
		err = n.Enter()
	}
	if err != nil {
		t.Fatal(err)
	}
	if n.File() != u.File || n.CanSetGroups() {
		t.Error("it isn't the namespace that was given")
	}
	if err := n.Emulate([]emulator.Emulator{{}}); !errors.Is(err, emulator.ErrRegister) ||
		!errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("emulators for all who are in it: %v", err)
	}
	n.Close()
	if _, err := u.File.Stat(); err != nil {
		t.Errorf("the namespace of somebody else was closed: %v", err)
	}
}

func TestUsersThatTheMapLeavesOutAreRefused(t *testing.T) {
	tests := map[string]struct {
		mapping *userns.Mapping
		user    step.User
		id      string // what the error names; "": none
	}{
		"caller's root":         {nil, step.User{Groups: []uint32{0}}, ""},
		"mapped":                {thousand(), step.User{UID: 999, GID: 999, Groups: []uint32{0, 999}}, ""},
		"user":                  {thousand(), step.User{UID: 1000, GID: 1}, "1000"},
		"group":                 {thousand(), step.User{UID: 1, GID: 1001}, "1001"},
		"supplementary group":   {thousand(), step.User{UID: 1, GID: 1, Groups: []uint32{1, 1002}}, "1002"},
		"no ID of the kernel's": {nil, step.User{UID: 1<<32 - 1}, "4294967295"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := namespace(t, step.Step{Mapping: test.mapping}).Check(test.user)
			if test.id == "" && err != nil || test.id != "" && (err == nil || !strings.Contains(err.Error(), test.id)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestStepsInTheCallersNamespaceMayGetWhatThisProcessHas(t *testing.T) {
	n := namespace(t, step.Step{})
	if n.Permitted()&(1<<unix.CAP_SYS_ADMIN) == 0 {
		t.Error("root has no power")
	}
	if !n.CanSetGroups() {
		t.Error("root can't set groups")
	}
	if err := n.Emulate(nil); err != nil || n.File() != nil {
		t.Errorf("no emulators, but a namespace: %v", err)
	}
}
