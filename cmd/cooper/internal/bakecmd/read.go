package bakecmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/internal/bakefile"
)

// envAnswer hands the answer over to the process in the namespace, since standard input can be read once only. It is
// the number of a descriptor.
const envAnswer = "_COOPER_BAKE"

// Read has bake files read, or takes what was read before this process entered the namespace.
func Read(ctx context.Context, env command.Env, q bakefile.Question) (a bakefile.Answer, err error) {
	text, inherited, err := inheritedAnswer(env)
	if err == nil && !inherited {
		text, err = ask(ctx, env, q)
	}
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("%s: %w", bakefile.Program, err)
	}
	return a, nil
}

func inheritedAnswer(env command.Env) (text []byte, ok bool, err error) {
	number, ok := os.LookupEnv(envAnswer)
	if !ok || !env.Inside {
		return nil, false, nil
	}
	fd, err := strconv.Atoi(number)
	if err != nil {
		return nil, false, fmt.Errorf("%s=%s: %w", envAnswer, number, err)
	}
	f := os.NewFile(uintptr(fd), envAnswer)
	text, err = io.ReadAll(f)
	return text, true, errors.Join(err, f.Close(), os.Unsetenv(envAnswer))
}

// HandOver gives the variable by which the process in the namespace finds the answer.
func HandOver(env command.Env, a bakefile.Answer) (variables []string, err error) {
	if env.Stays() {
		return nil, nil
	}
	text, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate(envAnswer, 0) // without MFD_CLOEXEC: it is inherited
	if err != nil {
		return nil, fmt.Errorf("keep what the bake files say: %w", err)
	}
	f := os.NewFile(uintptr(fd), envAnswer) // it stays open until the program ends
	if _, err := f.Write(text); err != nil {
		return nil, errors.Join(fmt.Errorf("keep what the bake files say: %w", err), f.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return []string{envAnswer + "=" + strconv.Itoa(int(f.Fd()))}, nil
}

// ask runs the program that reads bake files. What it has to say it says itself.
func ask(ctx context.Context, env command.Env, q bakefile.Question) ([]byte, error) {
	program, err := findProgram()
	if err != nil {
		return nil, err
	}
	question, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	var answer bytes.Buffer
	cmd := exec.CommandContext(ctx, program, string(question))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = env.Stdin, &answer, env.Stderr
	err = cmd.Run()
	failed := new(exec.ExitError)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &failed) && failed.Exited():
		return nil, command.StatusError(failed.ExitCode())
	case err != nil:
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return answer.Bytes(), nil
}

// findProgram finds the program beside this one, or in PATH.
func findProgram() (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", bakefile.Program, err)
	}
	beside := filepath.Join(filepath.Dir(own), bakefile.Program)
	if unix.Access(beside, unix.X_OK) == nil {
		return beside, nil
	}
	if found, err := exec.LookPath(bakefile.Program); err == nil {
		return found, nil
	}
	return "", command.Ending(fmt.Errorf("there is no program %s at %s or in PATH, which reads bake files\n"+
		"hint: it is made and installed with cooper: make build", bakefile.Program, beside), command.ExitMachine)
}
