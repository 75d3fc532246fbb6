package command_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// flags reads flags about registries.
func flags(t *testing.T, args ...string) *command.RegistryFlags {
	t.Helper()
	var r command.RegistryFlags
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	r.Add(f)
	r.AddRetries(f, "to try")
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &r
}

// pty gives both ends of a terminal.
func pty(t *testing.T) (user, program *os.File) {
	t.Helper()
	open := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	user = open("/dev/ptmx")
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return user, open(fmt.Sprintf("/dev/pts/%d", n))
}

func TestFlagsSayHowRegistriesAreSpokenTo(t *testing.T) {
	t.Parallel()
	o, err := flags(t, "--creds=ann:a:b", "--tls-verify=false", "--authfile=a", "--cert-dir=c", "--retry=7",
		"--retry-delay=2s").Options(t.Context(), command.Env{})
	want := build.RegistryOptions{Insecure: true, AuthFile: "a", CertDir: "c", Username: "ann", Password: "a:b",
		Retries: build.Retries{Times: 7, Delay: 2e9}}
	if err != nil || o != want {
		t.Errorf("got %+v, %v", o, err)
	}
	o, err = flags(t).Options(t.Context(), command.Env{})
	if want = (build.RegistryOptions{Retries: build.Retries{Times: command.UsualRetries}}); err != nil || o != want {
		t.Errorf("without flags: %+v, %v", o, err)
	}
}

func TestFlagsAboutRegistriesThatCanNotBeAreRefused(t *testing.T) {
	t.Parallel()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	_, terminal := pty(t)
	for flag, says := range map[string]string{
		"--creds=:x": "USER:PASSWORD", "--creds=:": "USER:PASSWORD", "--retry=-1": "--retry=-1", "--retry-delay=-1s": "-1s",
		"--creds=ann": "no terminal to ask for the password on\nhint: cooper login --password-stdin",
	} {
		err := flags(t, flag).Check(command.Env{Stdin: null})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", flag, err)
		}
	}
	for flag, env := range map[string]command.Env{"--creds=ann": {Stdin: terminal}, "--creds=ann:": {Stdin: null},
		"--retry=0": {Stdin: null}} {
		if err := flags(t, flag).Check(env); err != nil {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

func TestThePasswordIsAskedForAndNotShown(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{"secret\n": "secret", "\n": ""} {
		user, terminal := pty(t)
		questions, stderr, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		// Typed when the question is there: from then on the terminal shows nothing.
		asked := make(chan string, 1)
		go func() {
			question := make([]byte, 100)
			n, _ := questions.Read(question)
			asked <- string(question[:n])
			_, _ = io.WriteString(user, typed)
		}()
		o, err := flags(t, "--creds=ann").Options(t.Context(), command.Env{Stdin: terminal, Stderr: stderr})
		if (err == nil) != (want != "") || o.Username != "ann" || o.Password != want {
			t.Errorf("typed %q: %+v, %v", typed, o, err)
		}
		if question := <-asked; question != "Password: " {
			t.Errorf("asked %q", question)
		}
		if before, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS); err != nil || before.Lflag&unix.ECHO == 0 {
			t.Errorf("the terminal doesn't show what is typed any longer: %v", err)
		}
		shown, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCINQ)
		if err != nil || shown != 0 {
			t.Errorf("%d bytes were shown, %v", shown, err)
		}
		_, _ = questions.Close(), stderr.Close()
	}
}

func TestAQuestionEndsWithTheProgram(t *testing.T) {
	t.Parallel()
	user, terminal := pty(t)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrClosedPipe)
	_, err = flags(t, "--creds=ann").Options(ctx, command.Env{Stdin: terminal, Stderr: null})
	if err == nil || !strings.Contains(err.Error(), io.ErrClosedPipe.Error()) {
		t.Errorf("got %v", err)
	}
	if state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS); err != nil || state.Lflag&unix.ECHO == 0 {
		t.Errorf("the terminal doesn't show what is typed any longer: %v", err)
	}
	_, _ = io.WriteString(user, "\n") // for the goroutine that still reads
}
