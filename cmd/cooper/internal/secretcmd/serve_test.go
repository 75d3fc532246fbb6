package secretcmd_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/secretcmd"
)

func start(t *testing.T, command string) func(context.Context) (build.Secret, error) {
	t.Helper()
	f, err := secretcmd.Start(command)
	if err != nil {
		t.Fatal(err)
	}
	fetch, err := secretcmd.New(f)
	if err != nil {
		t.Fatal(err)
	}
	return fetch
}

func TestEachCallRunsTheCommandAnew(t *testing.T) {
	t.Parallel()
	count := filepath.Join(t.TempDir(), "count")
	fetch := start(t, "printf x >>"+count+"; printf 'a\\n\\n'; wc -c <"+count)
	for _, want := range []string{"a\n\n1", "a\n\n2"} {
		if got, err := fetch(t.Context()); err != nil || string(got) != want {
			t.Errorf("%q %v, want %q", string(got), err, want)
		}
	}
}

func TestACommandThatGivesNoSecretIsAnError(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]string{
		"exit 7":                   "exit status 7",
		"echo why >&2; exit 7":     "exit status 7: why",
		"true":                     "printed nothing",
		"no-such-program-here":     "exit status 127",
		"head -c 600000 /dev/zero": "printed more than 500 KiB",
		"head -c 100000 /dev/zero | tr '\\0' y >&2; echo end; exit 1": "exit status 1: yyy",
	} {
		if got, err := start(t, command)(t.Context()); err == nil || !strings.Contains(err.Error(), want) ||
			len(err.Error()) > 500 {
			t.Errorf("%s: %d bytes, %v", command, len(got), err)
		}
	}
}

func TestNobodyWaitsForACommandWhenTheBuildIsCancelled(t *testing.T) {
	t.Parallel()
	fetch := start(t, "sleep 600")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	done := make(chan error, 1)
	go func() { _, err := fetch(ctx); done <- err }()
	cancel(why)
	if err := <-done; !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}
