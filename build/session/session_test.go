package session_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) {
	os.Exit(usertest.Main(m.Run, store.HandleReexec))
}

// at is a session on a store in a directory, which the test closes.
func at(t *testing.T, root string) *session.Session {
	t.Helper()
	s := session.New(session.Options{
		Store:    store.Options{Root: root, RunRoot: t.TempDir(), Driver: "overlay"},
		Registry: session.Registry{Insecure: true, AuthFile: "auth", CertDir: "certs"},
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestAllThatAskAtOnceGetOneStore(t *testing.T) {
	t.Parallel()
	s := at(t, t.TempDir())
	got := make([]*depot.Depot, 8)
	var asking sync.WaitGroup
	for i := range got {
		asking.Go(func() {
			var err error
			if got[i], err = s.Depot(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	for _, st := range got {
		if st == nil || st != got[0] {
			t.Fatalf("the store is %p for one and %p for another", got[0], st)
		}
	}
}

func TestAStoreThatIsNotThereIsNotMadeToLookAtIt(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "store")
	s := at(t, root)
	if st, err := s.Existing(t.Context()); st != nil || err != nil {
		t.Errorf("got a store %p, %v", st, err)
	}
	if _, err := os.Lstat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a directory now: %v", err)
	}
	opened, err := s.Depot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st, err := s.Existing(t.Context()); st != opened || err != nil {
		t.Errorf("the store that is there is not the one that is open: %v", err)
	}
}

func TestPeekingOpensNothing(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "store")
	s := at(t, root)
	peeker, err := s.Peek()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peeker.Find("nothing"); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("an image that is nowhere: %v", err)
	}
	if _, err := os.Lstat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a directory now: %v", err)
	}
}

func TestAStoreThatCannotBeOpenedCanBeAskedForAgain(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "store")
	if err := os.WriteFile(root, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := at(t, root)
	var place *store.OpenError
	if _, err := s.Depot(t.Context()); !errors.As(err, &place) {
		t.Fatalf("a file opened as a store: %v", err)
	}
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Depot(t.Context()); err != nil {
		t.Errorf("after the file has gone: %v", err)
	}
}

func TestNothingBeginsInAClosedSession(t *testing.T) {
	t.Parallel()
	s := at(t, t.TempDir())
	if _, err := s.Depot(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := s.Depot(t.Context()); !errors.Is(err, session.ErrClosed) {
		t.Errorf("the store of a closed session: %v", err)
	}
	unused := at(t, t.TempDir())
	if err := unused.Close(); err != nil {
		t.Errorf("close what was never opened: %v", err)
	}
}

func TestErrorsOfTheMachineAreToldFromOthers(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	open := at(t, root)
	if _, err := open.Depot(t.Context()); err != nil {
		t.Fatal(err)
	}
	hidden := &executor.SetupError{Doing: "mount proc", Err: executor.ErrHiddenProc}
	full := &os.PathError{Op: "write", Path: filepath.Join(root, "x"), Err: unix.ENOSPC}
	for name, test := range map[string]struct {
		err     error
		machine bool
		says    string
	}{
		"nothing":         {nil, false, ""},
		"another's":       {errors.New("exit status 1"), false, "exit status 1"},
		"a full disk":     {full, true, root},
		"a hidden proc":   {hidden, true, "systempaths=unconfined"},
		"said already":    {errors.Join(store.ErrMachine, full), true, "no space left"},
		"a full store":    {&store.UnusableError{What: "the disk is full"}, true, "the disk is full"},
		"no store before": {session.ErrClosed, false, "closed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := open.Explain(test.err)
			if (err == nil) != (test.err == nil) || errors.Is(err, store.ErrMachine) != test.machine {
				t.Fatalf("got %v", err)
			}
			if err != nil && (!strings.Contains(err.Error(), test.says) || strings.Count(err.Error(),
				store.ErrMachine.Error()) > 1) {
				t.Errorf("it says %q", err)
			}
		})
	}
}

func TestASessionKnowsWhoCalls(t *testing.T) {
	t.Parallel()
	s := at(t, t.TempDir())
	want, err := userns.ThisProcess()
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Caller()
	if err != nil || got.Caller != want.Caller || !got.Root || got.Initial != want.Initial {
		t.Errorf("got %+v, %v", got, err)
	}
	if r := s.Registry(); r != (session.Registry{Insecure: true, AuthFile: "auth", CertDir: "certs"}) {
		t.Errorf("registries are reached by %+v", r)
	} else if o := r.Options(); !o.Insecure || o.AuthFile != "auth" || o.CertDir != "certs" || o.Username != "" {
		t.Errorf("a client of registries gets %+v", o)
	}
}
